"""Whether a blade can really run guests on its processor's virtualisation.

A device file, an API version or a firmware that starts prove nothing: there are kernels whose KVM does all that and then hangs with
the first Linux. So a tiny Linux is really booted, and what came of it is kept on the blade until its kernel or QEMU changes.
"""

import json
import uuid

import structlog

from naos.engines.errors import CommandFailed, EngineError
from naos.engines.ports import Host

KVM, TCG = "kvm", "tcg"
STORE = "/var/cache/naos"
_FILE = f"{STORE}/acceleration.json"
_PROOF = "naos-probe-ok"
_QEMU = "qemu-system-x86_64"
_BOOT = "/proc/sys/kernel/random/boot_id"
_GRACE = 10.0  # seconds beyond the deadline for the host to say that it was over

_log = structlog.get_logger()


def probe(host: Host, kernel: str, initrd: str, deadline: float = 15) -> str:
    """Boot a tiny Linux with KVM on `host`; "kvm" when it reached user space within `deadline` seconds, else "tcg".

    kernel, initrd: paths on the host, of a system that prints ``naos-probe-ok`` on ttyS0 and powers off. The answer is stored
    on the host for `stored`. Raises Unreachable when the host itself is lost, CommandFailed when it has no QEMU.
    """
    signature = _signature(host)
    # The processor is the one that machines get, and `timeout` ends QEMU on the host even when we do not live to see it.
    argv = [
        "timeout",
        "--signal=KILL",
        f"{deadline:g}",
        _QEMU,
        "-accel",
        "kvm",
        "-cpu",
        "host",
        "-machine",
        "pc",
        "-m",
        "128",
    ]
    argv += ["-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", kernel, "-initrd", initrd]
    done = host.run([*argv, "-append", "console=ttyS0 quiet"], timeout=deadline + _GRACE, check=False)
    answer = KVM if _PROOF in done.stdout else TCG
    _log.info("acceleration.probed", host=host.name, answer=answer, said=" ".join(done.stderr.split())[-300:])
    _store(host, {"answer": answer, **signature})
    return answer


def stored(host: Host) -> str | None:
    """What the last probe found, None when there was none with this kernel's boot and this QEMU."""
    kept = host.run(["cat", _FILE], check=False)
    try:
        found = json.loads(kept.stdout) if kept.code == 0 else {}
    except ValueError:
        return None
    if not isinstance(found, dict) or found.get("answer") not in (KVM, TCG):
        return None
    return str(found["answer"]) if found == {"answer": found["answer"], **_signature(host)} else None


def _signature(host: Host) -> dict[str, str]:
    boot = host.run(["cat", _BOOT]).stdout.strip()
    qemu = host.run([_QEMU, "--version"]).stdout.splitlines()
    return {"boot": boot, "qemu": qemu[0].strip() if qemu else ""}


def _store(host: Host, answer: dict[str, str]) -> None:
    partial = f"{_FILE}.{uuid.uuid4().hex}"
    try:
        host.run(["mkdir", "-p", STORE])
        host.run(["tee", partial], stdin=json.dumps(answer).encode())
        host.run(["mv", "-f", partial, _FILE])
    except CommandFailed as error:
        # Not kept is not wrong: the next one to ask has to look again.
        _log.warning("acceleration.not_stored", host=host.name, reason=error.reason)
        _forget(host, partial)


def _forget(host: Host, partial: str) -> None:
    try:
        host.run(["rm", "-f", partial])
    except EngineError as error:
        _log.warning("acceleration.leftover", host=host.name, path=partial, reason=str(error))
