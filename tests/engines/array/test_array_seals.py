"""What is known of changes is believed only under the seal that it was closed with."""

from typing import Any

import pytest

from naos.engines.array import seals
from naos.engines.array.errors import DaemonRefused

KNOWN = ("naos.set.one", "naos.set.two")


class Daemon:
    """Bitmaps of one image, name -> content, as a session sees them."""

    where = "array1"

    def __init__(self, *names: str) -> None:
        self.bitmaps = dict.fromkeys(names, "blank")
        self.ro = False
        self.unreadable: set[str] = set()

    @property
    def described(self) -> dict[str, Any]:
        return {"ro": self.ro, "dirty-bitmaps": [{"name": name} for name in self.bitmaps]}

    def execute(self, command: str, arguments: dict[str, Any]) -> Any:
        name = arguments["name"]
        if command == "x-debug-block-dirty-bitmap-sha256":
            if name in self.unreadable:
                raise DaemonRefused(self.where, command, "inconsistent")
            return {"sha256": f"sum of {self.bitmaps[name]}"}
        if command == "block-dirty-bitmap-add":
            assert arguments["persistent"]
            assert arguments["disabled"]
            self.bitmaps[name] = ""
        else:
            assert command == "block-dirty-bitmap-remove"
            del self.bitmaps[name]
        return {}

    def put(self) -> None:
        seals.put(self, "image", self.described)  # type: ignore[arg-type]

    def check(self) -> list[str]:
        """What is left of what was known."""
        seals.check(self, "image", self.described)  # type: ignore[arg-type]
        assert not [name for name in self.bitmaps if seals.is_seal(name)]
        return sorted(name for name in self.bitmaps if name in KNOWN)


def test_what_was_closed_under_a_seal_is_believed_when_nothing_has_changed() -> None:
    daemon = Daemon(*KNOWN, "another's")
    for _ in range(2):
        daemon.put()
        daemon.put()
        assert [seals.is_seal(name) for name in daemon.bitmaps].count(True) == 1
        assert daemon.check() == list(KNOWN)
    assert "another's" in daemon.bitmaps


@pytest.mark.parametrize("what", ["rotten", "gone", "more", "unsealed", "unreadable"])
def test_what_has_changed_while_it_was_closed_is_not_believed(what: str) -> None:
    daemon = Daemon(*KNOWN) if what != "more" else Daemon(KNOWN[0])
    if what != "unsealed":
        daemon.put()
    if what == "rotten":
        daemon.bitmaps[KNOWN[1]] = "rotten"
    elif what == "gone":
        del daemon.bitmaps[KNOWN[1]]
    elif what == "more":
        daemon.bitmaps[KNOWN[1]] = "blank"
    elif what == "unreadable":
        daemon.unreadable.add(KNOWN[0])
    assert daemon.check() == []


def test_an_image_that_is_only_read_or_of_which_nothing_is_known_gets_no_seal() -> None:
    read_only, empty, refused = Daemon(*KNOWN), Daemon(), Daemon(*KNOWN)
    read_only.ro = True
    refused.unreadable.add(KNOWN[0])
    for daemon in (read_only, empty, refused):
        before = dict(daemon.bitmaps)
        daemon.put()
        assert daemon.bitmaps == before
    assert read_only.check() == list(KNOWN)
