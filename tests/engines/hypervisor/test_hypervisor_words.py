"""What libvirt says, in the port's words; threads under deadlines; the probe of a blade's acceleration."""

import json
import threading

import libvirt
import pytest

from naos.engines.errors import CommandFailed, EngineError, GuestRefused, Missing, Unreachable, Unsupported
from naos.engines.hypervisor import acceleration, failures, reading, states
from naos.engines.hypervisor.migration import share
from naos.engines.hypervisor.workers import Workers
from naos.engines.ports import Completed, DomainSample, PowerState


class Failure(libvirt.libvirtError):
    """A libvirt error with the fields that libvirt would have set."""

    def __init__(self, code, text="it failed", domain=libvirt.VIR_FROM_QEMU):
        self.err = (code, domain, text, 2, None, None, None, 0, 0)


# --------------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("state", "reason", "word"),
    [
        (libvirt.VIR_DOMAIN_RUNNING, 1, PowerState.RUNNING),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, PowerState.PAUSED),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, PowerState.IO_ERROR),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED, PowerState.CRASHED),
        (libvirt.VIR_DOMAIN_SHUTDOWN, 0, PowerState.STOPPING),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_DESTROYED, PowerState.STOPPED),
        (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED, PowerState.CRASHED),
        (99, 0, PowerState.RUNNING),
    ],
)
def test_a_state_has_one_word(state, reason, word):
    assert states.power_state(state, reason) == word


def test_what_presses_a_guest_is_read_from_the_list_of_its_figures():
    told = {
        "balloon.current": 786432,
        "balloon.maximum": 1048576,
        "balloon.rss": 500000,
        "balloon.swap_in": 10,
        "balloon.swap_out": 20,
        "vcpu.current": 2,
        "vcpu.0.delay": 3_000_000_000,
        "vcpu.1.delay": 1_000_000_000,
        "vcpu.1.wait": 7,
    }
    assert reading.sample(told, spent=42, heard=True) == DomainSample(
        42, 500000 * 1024, agent=True, waited_ns=2_000_000_000, swapped=30 * 1024, ballooned=2**28
    )
    assert reading.sample({}, spent=1, heard=False) == DomainSample(1, 0, agent=False)


@pytest.mark.parametrize(
    ("event", "detail", "kind"),
    [
        (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED, "suspended"),
        (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, "io-error"),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, "stopped"),
        (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED, "crashed"),
        (libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, 0, None),
        (99, 0, None),
    ],
)
def test_an_event_has_one_word_or_none(event, detail, kind):
    assert states.event_kind(event, detail) == kind


@pytest.mark.parametrize(
    ("before", "now", "kinds"),
    [
        (None, PowerState.STOPPED, ["defined"]),
        (None, PowerState.RUNNING, ["defined", "started"]),
        (PowerState.RUNNING, None, ["undefined"]),
        (PowerState.RUNNING, PowerState.RUNNING, []),
        (PowerState.RUNNING, PowerState.CRASHED, ["crashed"]),
        (PowerState.IO_ERROR, PowerState.RUNNING, ["resumed"]),
        (PowerState.STOPPED, PowerState.RUNNING, ["started"]),
        (PowerState.RUNNING, PowerState.IO_ERROR, ["io-error"]),
    ],
)
def test_what_was_missed_follows_from_two_looks(before, now, kinds):
    looks = [{"one": state} if state else {} for state in (before, now)]
    assert states.missed_kinds(*looks) == [("one", kind) for kind in kinds]


@pytest.mark.parametrize(
    ("statistics", "expected"),
    [
        ({}, 0.0),
        ({"data_total": 0}, 0.0),
        ({"data_total": 200, "data_remaining": 50}, 0.75),
        ({"data_total": 200, "data_remaining": 0}, 0.99),
        ({"data_total": 200, "data_remaining": 300}, 0.0),
    ],
)
def test_a_moves_share_stays_below_the_whole(statistics, expected):
    assert share(statistics) == expected


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure(libvirt.VIR_ERR_NO_DOMAIN), Missing),
        (Failure(libvirt.VIR_ERR_RPC), Unreachable),
        (Failure(libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed"), Unreachable),
        (Failure(libvirt.VIR_ERR_SYSTEM_ERROR, domain=libvirt.VIR_FROM_RPC), Unreachable),
        (Failure(libvirt.VIR_ERR_SYSTEM_ERROR), EngineError),
        (Failure(libvirt.VIR_ERR_AGENT_UNRESPONSIVE), GuestRefused),
        (Failure(libvirt.VIR_ERR_CONFIG_UNSUPPORTED), Unsupported),
        (Failure(libvirt.VIR_ERR_OPERATION_FAILED, "two\n  lines"), EngineError),
    ],
)
def test_a_failure_is_told_by_its_cause(failure, kind):
    found = failures.translated("blade1", "trying", failure)
    assert type(found) is kind
    assert "\n" not in found.reason


def test_whatever_fails_on_a_lost_connection_is_the_blades_absence():
    found = failures.translated("blade1", "trying", Failure(libvirt.VIR_ERR_OPERATION_FAILED), connected=False)
    assert type(found) is Unreachable


# -------------------------------------------------------------------------------------------------------------- workers


def test_a_call_returns_or_raises_what_it_did():
    workers = Workers("blade1")
    assert workers.call("asking", lambda: 42, 5) == 42
    with pytest.raises(ZeroDivisionError):
        workers.call("asking", lambda: 1 // 0, 5)
    workers.close()
    workers.close()
    with pytest.raises(Unreachable, match="closed"):
        workers.call("asking", lambda: 42, 5)


def test_calls_that_hang_do_not_stop_others_until_there_are_too_many():
    workers, release = Workers("blade1", size=1, most_stuck=2), threading.Event()
    while workers.stuck < 2:
        assert workers.call("asking", lambda: 42, 5) == 42
        with pytest.raises(Unreachable, match="no answer"):
            workers.call("hanging", release.wait, 0.05)
    with pytest.raises(Unreachable, match="2 earlier calls"):
        workers.call("asking", lambda: 42, 5)
    release.set()
    while workers.stuck:
        threading.Event().wait(0.01)
    assert workers.call("asking", lambda: 42, 5) == 42
    workers.close()


def test_a_call_that_nobody_waits_for_any_more_is_never_begun():
    workers, holds, release, begun = Workers("blade1", size=1), threading.Event(), threading.Event(), []
    first = threading.Thread(target=workers.call, args=("holding", lambda: holds.set() or release.wait(), 30))
    first.start()
    holds.wait()
    with pytest.raises(Unreachable):
        workers.call("late", lambda: begun.append("late"), 0.05)
    release.set()
    first.join()
    assert workers.call("asking", lambda: 42, 5) == 42
    assert begun == []
    workers.close()


# --------------------------------------------------------------------------------------------------------- acceleration


class Blade:
    """A host with a file, a boot, a QEMU, and a guest that says something."""

    name = "blade1"

    def __init__(self, said="", *, full=False):
        self.said, self.full, self.boot, self.files, self.ran = said, full, "boot-1", {}, []

    def run(self, argv, *, stdin=b"", timeout=30.0, check=True):
        self.ran.append(list(argv))
        code, answer = getattr(self, f"_{argv[0].replace('-', '_')}")(list(argv[1:]), stdin)
        if check and code:
            raise CommandFailed(self.name, argv[0], "no")
        return Completed(code, answer, "")

    def _cat(self, words, _stdin):
        if words[0] == "/proc/sys/kernel/random/boot_id":
            return 0, f"{self.boot}\n"
        return (0, self.files[words[0]]) if words[0] in self.files else (1, "")

    def _qemu_system_x86_64(self, _words, _stdin):
        return 0, "QEMU emulator version 7.2\nCopyright\n"

    def _timeout(self, words, _stdin):
        assert "kvm" in words
        return (0 if self.said else 137), self.said

    def _mkdir(self, _words, _stdin):
        return 0, ""

    def _tee(self, words, stdin):
        self.files[words[0]] = stdin.decode()
        return int(self.full), ""

    def _mv(self, words, _stdin):
        self.files[words[2]] = self.files.pop(words[1])
        return 0, ""

    def _rm(self, words, _stdin):
        self.files.pop(words[1], None)
        return 0, ""


@pytest.mark.parametrize(("said", "answer"), [("SeaBIOS\nnaos-probe-ok\n", "kvm"), ("SeaBIOS\n", "tcg"), ("", "tcg")])
def test_only_a_linux_that_came_up_proves_hardware_virtualisation(said, answer):
    blade = Blade(said)
    assert acceleration.stored(blade) is None
    assert acceleration.probe(blade, "/kernel", "/initrd", deadline=7) == answer
    assert acceleration.stored(blade) == answer
    argv = next(words for words in blade.ran if words[0] == "timeout")
    assert argv[1:3] == ["--signal=KILL", "7"]


def test_an_answer_holds_until_the_blade_starts_anew():
    blade = Blade("naos-probe-ok")
    acceleration.probe(blade, "/kernel", "/initrd")
    blade.boot = "boot-2"
    assert acceleration.stored(blade) is None


@pytest.mark.parametrize("kept", ["", "{", "[]", json.dumps({"answer": "xen"}), json.dumps({"answer": "kvm"})])
def test_a_damaged_answer_is_none(kept):
    blade = Blade("naos-probe-ok")
    acceleration.probe(blade, "/kernel", "/initrd")
    (path,) = blade.files
    blade.files[path] = kept
    assert acceleration.stored(blade) is None


def test_a_full_blade_is_probed_all_the_same_and_keeps_no_half_file():
    blade = Blade("naos-probe-ok", full=True)
    assert acceleration.probe(blade, "/kernel", "/initrd") == "kvm"
    assert blade.files == {}
