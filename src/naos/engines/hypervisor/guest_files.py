"""The files of a guest, through its agent: contents by the agent itself, names and modes by small scripts of the guest's shell."""

import base64
import contextlib
import hashlib
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import Any

from naos.engines.errors import EngineError, GuestRefused
from naos.engines.hypervisor import agent
from naos.engines.hypervisor.domains import Domains
from naos.engines.ports.files import GuestAttributes

_ANSWER = 60  # seconds for one piece
_LONGEST_SCRIPT = 600.0  # seconds
_PIECE = 48 * 1024  # bytes of a message: a small guest's agent holds it several times over while it parses it
_TOGETHER = 200  # files whose attributes are set in one script
_PLACE = 'if [ -e "$2" ] || [ -L "$2" ]; then exit 17; fi; exec mv -T -- "$1" "$2"'
_OVERWRITE = 'if [ -d "$1" ] && [ -d "$2" ] && [ ! -L "$2" ]; then cp -a -- "$1/." "$2/" && rm -rf -- "$1"; else exec mv -fT -- "$1" "$2"; fi'
_TAKEN = 17


class AgentFiles:
    """Of a Linux guest: its agent may run programs (`guest-exec`)."""

    def __init__(self, domains: Domains, domain_id: str) -> None:
        self._domains, self._id = domains, domain_id

    def has(self, path: str, *, folder: bool = False) -> bool:
        test = 'test -d "$1"' if folder else '[ -e "$1" ] || [ -L "$1" ]'
        return self._run(["sh", "-c", test, "naos", path]) == 0

    def make_folder(self, path: str) -> None:
        self._check("mkdir", ["mkdir", "-p", "--", path])

    def write(self, path: str, content: Iterator[bytes]) -> str:
        handle = self._ask("guest-file-open", path=path, mode="wb")
        try:
            for data in content:
                for at in range(0, len(data), _PIECE):
                    self._put(handle, data[at : at + _PIECE])
            self._ask("guest-file-flush", handle=handle)
        except BaseException:
            with contextlib.suppress(EngineError):  # the first failure is the one to hear of
                self._ask("guest-file-close", handle=handle)
            raise
        self._ask("guest-file-close", handle=handle)
        return self._sum(path)

    def _put(self, handle: int, data: bytes) -> None:
        while data:
            done = self._ask("guest-file-write", handle=handle, **{"buf-b64": base64.b64encode(data).decode()})["count"]
            if done <= 0:
                raise GuestRefused(self._domains.where, "writing a file", "the agent wrote nothing")
            data = data[done:]

    def _sum(self, path: str) -> str:
        digest = hashlib.sha256()
        handle = self._ask("guest-file-open", path=path, mode="rb")
        try:
            while True:
                found = self._ask("guest-file-read", handle=handle, count=_PIECE)
                digest.update(base64.b64decode(found["buf-b64"]))
                if found["eof"] or not found["count"]:
                    return digest.hexdigest()
        finally:
            self._ask("guest-file-close", handle=handle)

    def finish(self, found: Sequence[GuestAttributes]) -> None:
        for at in range(0, len(found), _TOGETHER):
            lines = [line for each in found[at : at + _TOGETHER] for line in _lines(each)]
            self._check("setting modes and times", ["sh", "-eu", "-s"], "\n".join(lines))

    def place(self, source: str, target: str, *, overwrite: bool) -> bool:
        argv = ["sh", "-c", _OVERWRITE if overwrite else _PLACE, "naos", source, target]
        code = self._run(argv)
        if code not in (0, _TAKEN):
            raise GuestRefused(self._domains.where, f"moving a file to {target}", f"its shell ended with {code}")
        return code == 0

    def remove(self, path: str) -> None:
        self._check("removing", ["rm", "-rf", "--", path])

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _ask(self, command: str, **arguments: Any) -> Any:
        return agent.ask(self._domains, self._id, command, arguments, timeout=_ANSWER)

    def _check(self, what: str, argv: Sequence[str], script: str = "") -> None:
        code = self._run(argv, script)
        if code:
            raise GuestRefused(self._domains.where, what, f"{shlex.join(argv[:1])} ended with {code}")

    def _run(self, argv: Sequence[str], script: str = "") -> int:
        """The exit code of a program in the guest. Raises GuestRefused for an agent that does not run any."""
        given: dict[str, Any] = {"input-data": base64.b64encode(script.encode()).decode()} if script else {}
        try:
            pid = self._ask("guest-exec", path=argv[0], arg=list(argv[1:]), **given)["pid"]
        except GuestRefused as error:
            reason = f"its agent has to be allowed guest-exec, in a guest with a POSIX shell: {error.reason}"
            raise GuestRefused(self._domains.where, error.what, reason) from error
        wait, until = 0.01, time.monotonic() + _LONGEST_SCRIPT
        while True:
            state = self._ask("guest-exec-status", pid=pid)
            if state["exited"]:
                return int(state.get("exitcode", 128))
            if time.monotonic() > until:
                raise EngineError(self._domains.where, "running a program in the guest", "it does not end")
            time.sleep(wait)
            wait = min(wait * 2, 0.5)


def _lines(each: GuestAttributes) -> Iterator[str]:
    path = shlex.quote(each.path)
    if each.target:
        yield f"ln -s -- {shlex.quote(each.target)} {path}"
        yield f"chown -h {each.uid}:{each.gid} -- {path} || true"
        return
    yield f"chown {each.uid}:{each.gid} -- {path}"
    yield f"chmod {each.mode & 0o7777:04o} -- {path}"
    yield f"touch -d @{int(each.mtime)} -- {path}"
