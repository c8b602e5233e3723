"""The ports that a job's Ray nodes take."""

import socket
from itertools import pairwise

from clr_hpc.places.slurm.allocation.ray_node import FIRST, LAST, NAMED, port_ranges


def test_ranges_are_disjoint_for_jobs_in_a_row_and_keep_clear_of_outgoing_connections() -> None:
    own = [next(port_ranges(job, cpus=4)) for job in range(1000, 1050)]
    for one, other in pairwise(own):
        assert not set(one.all) & set(other.all)
    assert all(min(ports.all) >= FIRST and max(ports.all) < LAST for ports in own)


def test_every_range_is_tried_once() -> None:
    tried = [ports.first for ports in port_ranges(7, cpus=2)]
    assert len(tried) == len(set(tried)) > 100
    assert next(port_ranges(7, cpus=2)).first == tried[0], "the same for all nodes of a job"


def test_every_server_has_a_port_of_its_own_and_workers_have_the_rest() -> None:
    ports = next(port_ranges(3, cpus=8))
    options = dict(option.split("=") for option in ports.options(is_head=True))
    first, last = int(options.pop("--min-worker-port")), int(options.pop("--max-worker-port"))
    servers = [int(port) for port in (*options.values(), *ports.settings().values())]
    assert len(set(servers)) == len(servers) == len(NAMED)
    assert sorted([*servers, *range(first, last + 1)]) == list(ports.all)
    assert last - first >= 2 * 8
    assert not {"--port", "--dashboard-port"} & {option.split("=")[0] for option in ports.options(is_head=False)}


def test_a_range_of_which_one_port_is_taken_is_not_free() -> None:
    free = (ports for ports in port_ranges(5, cpus=1) if ports.are_free())
    ports, following = next(free), next(free)
    for host in ("127.0.0.1", "0.0.0.0"):
        with socket.create_server((host, ports["node-manager-port"])):
            assert not ports.are_free()
    with socket.create_server(("127.0.0.1", ports.all[-1])):
        assert not ports.are_free(), "a worker's"
    assert ports.are_free()
    assert following.first != ports.first
