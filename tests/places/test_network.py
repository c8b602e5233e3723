"""Where torch's connections listen."""

from datetime import timedelta

import pytest
from listening import listening_addresses

from clr_hpc.places import network
from clr_hpc.places.network import interface_of, network_settings, serve_store


def test_torch_is_kept_on_the_interface_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    monkeypatch.delenv("NCCL_SOCKET_IFNAME", raising=False)
    assert interface_of("127.0.0.1") == "lo"
    assert set(network_settings("127.0.0.1").values()) == {"lo"}, "no other machine takes part"
    assert network_settings("192.0.2.1") == {}, "no interface has it"
    monkeypatch.setattr(network, "interface_of", lambda _: "eth0")
    between = network_settings("192.0.2.1")
    assert between == {"GLOO_SOCKET_IFNAME": "ib0", "NCCL_SOCKET_IFNAME": "eth0"}, "as the user has set it"


def test_a_store_listens_on_its_address_alone() -> None:
    store = serve_store("127.0.0.1", timedelta(seconds=10))
    ours = [where for where in listening_addresses().values() if where.endswith(f":{store.port}")]
    assert ours == [f"127.0.0.1:{store.port}"]
