"""A Ray cluster of several nodes on this machine, on 127.0.0.1 alone: ``ray_nodes.py NODES``.

Prints its address and its raylets' process ids as JSON. Each line of its standard input adds a node, and has that
printed again; it lives until the input is closed.
"""

import json
import sys
import threading
import time

from ray.cluster_utils import Cluster

OBJECT_STORE_BYTES = 80 * 2**20

cluster = Cluster(
    initialize_head=True,
    head_node_args={"num_cpus": 1, "include_dashboard": True, "object_store_memory": OBJECT_STORE_BYTES},
)
raylets = [cluster.head_node.all_processes["raylet"][0].process]


def add_node() -> None:
    """Add a node with a CPU."""
    node = cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
    raylets.append(node.all_processes["raylet"][0].process)


def describe() -> None:
    """Print what commands and tests need to know."""
    described = {
        "address": cluster.address,
        "dashboard": f"http://{cluster.head_node.webui_url}",
        "raylets": [raylet.pid for raylet in raylets],
    }
    print(json.dumps(described), flush=True)


for _ in range(int(sys.argv[1]) - 1):
    add_node()


def reap() -> None:
    """Collect killed raylets: their workers go on while one is there, be it as a zombie."""
    while True:
        for raylet in tuple(raylets):
            raylet.poll()
        time.sleep(0.1)


threading.Thread(target=reap, daemon=True).start()
describe()
for _ in sys.stdin:
    add_node()
    describe()
cluster.shutdown()
