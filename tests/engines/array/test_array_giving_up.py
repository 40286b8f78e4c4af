"""Images that the daemon has given up, and who is let in."""

import json

import pytest
from array_fakes import DISK, LUN, FakeHost, FakeMonitor, refused

from naos.engines.array import daemon, damage, nodes, tls
from naos.engines.array.errors import DaemonRefused
from naos.engines.array.places import Place
from naos.engines.ports import LunSpec

EJECTED = refused(f"Block device {nodes.node(nodes.IMAGE, DISK)} is ejected")


def test_a_damaged_image_is_noted_cut_off_and_closed():
    host = FakeHost()
    monitor = FakeMonitor(query_named_block_nodes=[EJECTED, []], query_block_exports=[])
    damage.put_aside(monitor, Place("array1", host, "/array", LUN))
    assert host.calls == [("touch", "--", f"/array/{LUN}/files/disks/{DISK}.damaged")]
    closed = [arguments["node-name"] for command, arguments in monitor.sent if command == "blockdev-del"]
    assert closed == [nodes.node(kind, DISK) for kind in "tvwqf"]


def test_one_that_does_not_go_is_told_and_another_refusal_is_passed_on():
    place = Place("array1", FakeHost(), "/array", LUN)
    with pytest.raises(DaemonRefused, match="still uses"):
        damage.put_aside(FakeMonitor(query_named_block_nodes=EJECTED, query_block_exports=[]), place)
    with pytest.raises(DaemonRefused, match="no reason"):
        damage.put_aside(FakeMonitor(query_named_block_nodes=refused("no reason")), place)


def test_with_certificates_the_daemon_answers_over_tls_and_names_whom_it_lets_in():
    place = Place("array1", FakeHost(), "/array", LUN, tls="/etc/naos/nbd")
    lun = LunSpec(LUN, 2**30, None, 10809, clients=("blade2", "array1", "blade2"))
    argv = daemon.command(place, lun, "10.0.0.1")
    made = [json.loads(argv[n + 1]) for n, word in enumerate(argv) if word == "--object"]
    objects = {entry["id"]: entry for entry in made}
    assert objects[tls.SERVER]["verify-peer"] is True
    assert [rule["match"] for rule in objects[tls.CLIENTS]["rules"]] == ["CN=array1", "CN=blade2"]
    assert objects[tls.CLIENTS]["policy"] == "deny"
    server = json.loads(argv[argv.index("--nbd-server") + 1])
    assert (server["tls-creds"], server["tls-authz"]) == (tls.SERVER, tls.CLIENTS)
    assert server["max-connections"] == 0
    clear = Place("array1", FakeHost(), "/array", LUN)
    assert not any("tls" in word for word in daemon.command(clear, lun, "10.0.0.1"))
    monitor = FakeMonitor()
    tls.admit(monitor, clear, ("blade1",))
    assert monitor.sent == []
