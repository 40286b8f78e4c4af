"""Hosts reached over SSH, with the OpenSSH client of this machine and its configuration (keys, known hosts, jumps).

One authenticated connection a host is kept and shared by every command (OpenSSH's control master), so that a command
costs a round trip and not a handshake. An idle one ends by itself after `PERSIST` seconds, even when naos was killed.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import uuid
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from naos.engines.errors import CommandFailed, EngineError, Missing, Unreachable, Unsupported
from naos.engines.ports import Completed

PERSIST = 300  # seconds
LOST = 255  # the client's exit code when the connection failed, and when the command died of a signal
TRANSFER = 4 * 3600.0  # seconds; a peer that went away is noticed within 15 s by the keep-alive, whatever the size
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ControlMaster": "auto",
    "ControlPersist": str(PERSIST),
    "LogLevel": "ERROR",
    "RequestTTY": "no",
    "ServerAliveCountMax": "3",
    "ServerAliveInterval": "5",
    "StreamLocalBindUnlink": "yes",
}
_TARGET = re.compile(r"(?:([^@\s-][^@\s]*)@)?(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^:@\s\[\]-][^:@\s\[\]]*)(?::(\d{1,5}))?")
_PAYLOAD = "payload"


class SshHost:
    """A machine at `target`: ``user@address[:port]``, an IPv6 address in brackets.

    options: more options for the client, for example ``("-F", "/etc/naos/ssh_config")``. The login shell of the far side
    must be a POSIX shell.
    """

    def __init__(self, name: str, target: str, *, options: Sequence[str] = ()) -> None:
        match = _TARGET.fullmatch(target)
        if match is None:
            raise Unsupported(name, f"SSH to {target!r}", "write user@address or user@address:port")
        user, address, port = match.groups()
        self.name = name
        self._folder = Path(
            tempfile.mkdtemp(prefix="naos-ssh-")
        )  # short: a unix socket's path has at most 107 characters
        self._address = address.strip("[]")
        self._client = ["ssh", "-S", str(self._folder / "c")]
        self._client += [word for key, value in _OPTIONS.items() for word in ("-o", f"{key}={value}")]
        self._client += [*options, *(["-l", user] if user else []), *(["-p", port] if port else [])]
        self._end = weakref.finalize(self, _end, [*self._client, "-O", "exit", "--", self._address], self._folder)

    def close(self) -> None:
        """End the shared connection."""
        self._end()

    # ------------------------------------------------------------------------------------------------------------- port

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        check: bool = True,
    ) -> Completed:
        """Run one command.

        At the deadline the client is ended: a command that reads or writes ends with it, one that does neither runs on.
        Raises CommandFailed, or Unreachable.
        """
        try:
            done = subprocess.run(self._command(argv), input=stdin, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as error:
            raise Unreachable(self.name, argv[0], f"no answer within {timeout:g} s") from error
        except FileNotFoundError as error:
            raise _no_client(error) from error
        return self._judged(argv, done.returncode, done.stdout, done.stderr, check=check)

    def put(self, source: Path, target: str) -> None:
        """Copy a local file to the host: complete under `target`, or not there at all. Holes stay holes.

        Raises Missing when there is no such file here, else as `run`.
        """
        if not source.is_file():
            raise Missing("this machine", f"file {source}", f"it was to be copied to {self.name}")
        staging = str(PurePosixPath(target).parent / f".naos-{uuid.uuid4().hex}")
        received = f"{staging}/{_PAYLOAD}"
        self.run(["mkdir", "-m", "700", "--", staging])
        try:
            self._send(source, staging)
            self.run(["sync", "--", received], timeout=TRANSFER)
            self.run(["mv", "-f", "-T", "--", received, target])
        finally:
            with contextlib.suppress(EngineError):
                self.run(["rm", "-f", "--", received])
                self.run(["rmdir", "--", staging])

    def get(self, source: str, target: Path) -> None:
        """Copy a file from the host: complete under `target`, or not there at all. Holes stay holes.

        Raises Missing when the host has no such file, else as `run`.
        """
        if self.run(["test", "-f", source], check=False).code != 0:
            raise Missing(self.name, f"file {source}", "it was to be copied from there")
        with tempfile.TemporaryDirectory(prefix=".naos-", dir=target.absolute().parent) as folder:
            self._receive(source, folder)
            came = [entry for entry in Path(folder).iterdir() if entry.is_file() and not entry.is_symlink()]
            if len(came) != 1:
                raise CommandFailed(self.name, f"copying {source}", f"{len(came)} files came instead of one")
            with came[0].open("rb") as handle:
                os.fsync(handle.fileno())
            came[0].replace(target)

    @contextlib.contextmanager
    def socket(self, path: str) -> Iterator[str]:
        """A path on this machine that reaches the unix socket `path` of the host while the context is open."""
        self.run(["true"])  # the shared connection is there from now on
        local = str(self._folder / uuid.uuid4().hex[:12])
        forward = ["-L", f"{_escaped(local)}:{_escaped(path)}"]
        # An open session keeps the connection from ending as idle; this one ends with our side of its input, even when
        # naos is killed.
        with subprocess.Popen(
            self._command(["cat"]), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as keeper:
            try:
                self._control("forward", forward, path)
                try:
                    yield local
                finally:
                    with contextlib.suppress(EngineError):
                        self._control("cancel", forward, path)
                    Path(local).unlink(missing_ok=True)
            finally:
                keeper.kill()

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _command(self, argv: Sequence[str]) -> list[str]:
        """The far side hands the line to a shell, so each argument is quoted for it."""
        return [*self._client, "--", self._address, shlex.join(argv)]

    def _judged(self, argv: Sequence[str], code: int, out: bytes, error: bytes, *, check: bool) -> Completed:
        result = Completed(code, out.decode(errors="replace"), error.decode(errors="replace"))
        if code == LOST and not self._connected():
            raise Unreachable(self.name, argv[0], result.stderr.strip() or "the connection was lost")
        if check and code != 0:
            raise CommandFailed(self.name, shlex.join(argv), result.stderr.strip() or f"exit code {code}")
        return result

    def _connected(self) -> bool:
        try:
            self._control("check", [], "")
        except EngineError:
            return False
        return True

    def _control(self, order: str, arguments: Sequence[str], what: str) -> None:
        """Give the shared connection's process an order."""
        argv = [*self._client, "-O", order, *arguments, "--", self._address]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False)
        except subprocess.TimeoutExpired as error:
            raise Unreachable(self.name, f"ssh -O {order} {what}", "no answer within 10 s") from error
        if done.returncode != 0:
            raise CommandFailed(self.name, f"ssh -O {order} {what}", done.stderr.decode(errors="replace").strip())

    def _send(self, source: Path, staging: str) -> None:
        """Stream a file into a folder of the host, as `payload`: the archive's member has our name, not the file's."""
        unpack = ["tar", "-x", "-S", "-f", "-", "--no-same-owner", "-C", staging]
        with tempfile.TemporaryDirectory(prefix="naos-put-") as folder:
            Path(folder, _PAYLOAD).symlink_to(source.absolute())
            pack = ["tar", "-c", "-S", "-h", "-f", "-", "-C", folder, _PAYLOAD]
            self._stream(pack, self._command(unpack), f"copying {source}", far=1)

    def _receive(self, source: str, folder: str) -> None:
        place = PurePosixPath(source)
        pack = ["tar", "-c", "-S", "-h", "-f", "-", "--no-unquote", "-C", str(place.parent), f"./{place.name}"]
        unpack = ["tar", "-x", "-S", "-f", "-", "--no-same-owner", "-C", folder]
        self._stream(self._command(pack), unpack, f"copying {source}", far=0)

    def _stream(self, writer: Sequence[str], reader: Sequence[str], what: str, *, far: int) -> None:
        """Run two commands with a pipe between them; `far`: which of the two, 0 or 1, is the SSH client."""
        with tempfile.TemporaryFile() as said, subprocess.Popen(writer, stdout=subprocess.PIPE, stderr=said) as source:
            try:
                done = subprocess.run(reader, stdin=source.stdout, capture_output=True, timeout=TRANSFER, check=False)
            except BaseException:
                source.kill()
                raise
            if source.stdout:
                source.stdout.close()  # a writer whose reader went away must not wait for it
            code = source.wait()
            said.seek(0)
            results = ((code, said.read()), (done.returncode, done.stderr))
        remote, local = results[far], results[1 - far]
        self._judged([what], remote[0], b"", remote[1], check=True)
        if local[0] != 0:
            raise CommandFailed("this machine", what, local[1].decode(errors="replace").strip())


def _escaped(path: str) -> str:
    """A path as ``-L`` wants it, where a colon would separate."""
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _no_client(error: OSError) -> Unsupported:
    return Unsupported("this machine", "SSH", f"{error}; install openssh-client")


def _end(order: Sequence[str], folder: Path) -> None:
    """End the shared connection, if there is one, and remove its folder."""
    if (folder / "c").exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(order, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
    shutil.rmtree(folder, ignore_errors=True)
