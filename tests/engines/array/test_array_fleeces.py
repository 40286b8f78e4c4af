"""When a disk has a fleece while it is copied away."""

import uuid

import pytest
from array_fakes import DISK, LUN, OTHER, FakeHost, FakeMonitor, refused

from naos.engines.array import changes, fleeces, jobs, nodes
from naos.engines.array.places import Place
from naos.engines.ports import Completed, Door, NbdAddress, Outgoing

MIB = 2**20
SET, POINT, BASE = (str(uuid.UUID(int=number)) for number in range(3))
DOOR = Door(NbdAddress("10.0.0.1", 1, "x"), "key")


def described(disk_id, *, allocated=100 * MIB, dirty=None, read_only=False, encrypted=False):
    bitmaps = [] if dirty is None else [{"name": changes.name(SET, BASE), "count": dirty}]
    image = {"virtual-size": 200 * MIB, "actual-size": allocated, "encrypted": encrypted}
    return {"node-name": nodes.node(nodes.IMAGE, disk_id), "image": image, "ro": read_only, "dirty-bitmaps": bitmaps}


def opened(entries, parts, free=1000 * MIB):
    host = FakeHost(lambda argv: Completed(0, f"{free // 4096} 4096\n" if argv[0] == "stat" else "", ""))
    monitor = FakeMonitor(query_named_block_nodes=list(entries), query_jobs=[], block_dirty_bitmap_remove=refused())
    place = Place("array1", host, "/array", LUN)
    return set(fleeces.open_images(monitor, place, SET, POINT, parts)), host, monitor


@pytest.mark.parametrize(
    ("given", "base", "free", "has"),
    [
        ({}, None, 1000 * MIB, True),
        ({}, None, 100 * MIB + fleeces.MARGIN, True),
        ({}, None, 100 * MIB + fleeces.MARGIN - 4096, False),  # guests may write all of it meanwhile
        ({"allocated": fleeces.SMALLEST - 1}, None, 1000 * MIB, False),
        ({"dirty": fleeces.SMALLEST}, BASE, 1000 * MIB, True),
        ({"dirty": fleeces.SMALLEST - 65536}, BASE, 1000 * MIB, False),
        ({"dirty": 16 * MIB}, BASE, 16 * MIB + fleeces.MARGIN, True),
        ({"read_only": True}, None, 1000 * MIB, False),
        ({"encrypted": True}, None, 1000 * MIB, False),  # and the key is not at hand
    ],
)
def test_a_fleece_is_made_where_it_helps_and_has_room(given, base, free, has):
    found, host, monitor = opened([described(DISK, **given)], [Outgoing(DISK, base, DOOR)], free)
    assert found == ({DISK} if has else set())
    made = [call for call in host.calls if call[0] == "qemu-img"]
    assert len(made) == has
    if has:
        added = [arguments["node-name"] for command, arguments in monitor.sent if command == "blockdev-add"]
        assert added == [nodes.name_of(kind, DISK, POINT) for kind in (nodes.FLEECE_FILE, nodes.FLEECE)]
        assert host.calls[-1] == ("rm", "-f", "--", f"/array/{LUN}/files/disks/{DISK}.new"), "it has no name any more"


def test_disks_with_little_to_copy_have_none_beside_one_with_much():
    entries = [described(DISK, dirty=65536), described(OTHER, dirty=32 * MIB)]
    parts = [Outgoing(DISK, BASE, DOOR), Outgoing(OTHER, BASE, DOOR)]
    assert opened(entries, parts)[0] == {OTHER}


def test_what_is_known_is_noted_before_the_job_takes_its_bitmap():
    kinds = [action["type"] for action in fleeces.actions(DISK, POINT, changes.name(SET, BASE), 5)]
    assert kinds == ["block-dirty-bitmap-add", "block-dirty-bitmap-merge", "blockdev-backup"]
    (whole,) = fleeces.actions(DISK, POINT, None, 5)
    assert (whole["data"]["sync"], whole["data"]["job-id"]) == ("none", f"fleece.{DISK}.{POINT}.5")


def test_a_fleece_goes_with_its_copy_and_its_view_before_it():
    fleece = {"id": f"fleece.{DISK}.{POINT}.5", "status": "running", "current-progress": 0, "total-progress": 0}
    names = [nodes.name_of(kind, DISK, POINT) for kind in (nodes.VIEW, nodes.FLEECE, nodes.FLEECE_FILE)]
    monitor = FakeMonitor(
        query_jobs=[[fleece], [fleece], [fleece | {"status": "concluded"}], []],
        query_named_block_nodes=[{"node-name": name} for name in names],
    )
    jobs.drop_fleece(monitor, DISK, POINT)
    done = [(command, arguments.get("node-name", arguments.get("id"))) for command, arguments in monitor.sent]
    done = [entry for entry in done if not entry[0].startswith("query")]
    view, kept, file = (("blockdev-del", name) for name in names)
    ended = [("job-cancel", fleece["id"]), ("job-dismiss", fleece["id"])]
    assert done[:-1] == [view, *ended, kept, file]
