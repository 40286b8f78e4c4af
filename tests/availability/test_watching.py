"""The second look: a blade whose hypervisor answers, and whose array hears nothing of it."""

from types import SimpleNamespace
from typing import Any

import pytest

from naos.availability import watching
from naos.availability.detection import Condition, Seen
from naos.availability.watching import Lookout
from naos.engines.errors import CommandFailed
from naos.engines.ports import Completed, Peer, PowerState

OWN, OTHER, ARRAY = "10.0.0.11", "10.0.0.12", "10.0.0.2"
WELL = (
    "ESTAB 0 0 10.0.0.11:50312 10.0.0.2:10809\n\t cubic wscale:7,7 rto:204 rtt:0.1/0.05 bytes_sent:4242 lastsnd:31000\n"
)
STUCK = (
    "ESTAB 0 4124 10.0.0.11:50312 10.0.0.2:10809\n"
    "\t cubic wscale:7,7 rto:6528 backoff:5 rtt:0.1/0.05 bytes_sent:4242 retrans:1/5 unacked:2\n"
)


def lookout(own: Peer, other: Peer, listing: str | Exception, domain: PowerState = PowerState.RUNNING) -> Lookout:
    def run(argv: list[str], **_options: Any) -> Completed:
        assert argv == ["ss", "-Htin", "dst", ARRAY]
        if isinstance(listing, Exception):
            raise listing
        return Completed(0, listing, "")

    array = SimpleNamespace(name="array", zone="AZ05", address=ARRAY)
    rack = SimpleNamespace(
        hypervisor=lambda _blade: SimpleNamespace(domains=lambda: {"guest": domain}),
        chassis=lambda _blade: SimpleNamespace(power=lambda: None),
        array=lambda _name: SimpleNamespace(peers=lambda _addresses: {OWN: own, OTHER: other}),
        blade_host=lambda _blade: SimpleNamespace(run=run),
    )
    world: Any = SimpleNamespace(rack=rack, inventory=SimpleNamespace(arrays=[array]))
    blade: Any = SimpleNamespace(name="blade1", zone="AZ05", storage_address=OWN)
    return Lookout(world, blade, [OWN, OTHER], seen=True)


SILENT, HEARD, BUSY = Peer(1, 4242, answers=False), Peer(1, 4242, answers=True), Peer(0, 0, answers=True)
REFUSED = CommandFailed("blade1", "ss", "not found")
LOOKS = [
    ("requests go unanswered", SILENT, BUSY, STUCK, (Seen.SILENT, True)),
    ("its guests ask for nothing", SILENT, BUSY, WELL, (Seen.SILENT, False)),
    ("no connection at all", SILENT, BUSY, "", (Seen.SILENT, False)),
    ("the blade cannot be asked", SILENT, BUSY, REFUSED, (Seen.SILENT, False)),
    ("the array hears nobody", SILENT, SILENT, STUCK, (Seen.SILENT, False)),
    ("the array hears it", HEARD, BUSY, STUCK, (Seen.REACHABLE, False)),
]


@pytest.mark.parametrize(
    ("own", "other", "listing", "wanted"), [row[1:] for row in LOOKS], ids=[row[0] for row in LOOKS]
)
def test_a_cable_that_is_cut_is_no_error_to_a_connection(
    own: Peer, other: Peer, listing: str | Exception, wanted: tuple[Seen, bool]
) -> None:
    post = lookout(own, other, listing)
    sight = post.look(Condition.HEALTHY)
    post.close()
    assert (sight.answers, sight.array, sight.stuck) == (True, *wanted)


def test_guests_that_were_stopped_by_an_error_wait_whatever_their_connections_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "_unanswered", lambda *_: pytest.fail("not asked"))
    post = lookout(SILENT, BUSY, WELL, PowerState.IO_ERROR)
    sight = post.look(Condition.HEALTHY)
    post.close()
    assert (sight.array, sight.stuck) == (Seen.SILENT, True)


def test_a_blade_that_is_well_costs_its_array_one_question_in_fifteen_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(watching.time, "monotonic", lambda: clock.now)
    post, asked = lookout(HEARD, BUSY, WELL), []
    monkeypatch.setattr(post, "_ask_array", lambda: asked.append(clock.now) or (Seen.REACHABLE, True))
    for _ in range(60):
        assert post.look(Condition.HEALTHY).array == Seen.REACHABLE
        clock.now += 0.5
    post.close()
    assert asked == [100.0, 115.0]
