"""Hosts of the lab: a network, mount and UTS namespace of this machine, kept by a process of its own, the holder.

A host's folder holds `host.json` (what the host is, written before anything of it is made) and `holder.json` (the holder,
written by itself once its mounts are there). A host is powered exactly while that process lives.
"""

import contextlib
import json
import os
import shlex
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from naos.engines.errors import CommandFailed, EngineError, Missing, Unreachable
from naos.engines.hosts import netns, processes
from naos.engines.hosts.files import write_whole
from naos.engines.hosts.processes import Process
from naos.engines.ports import Completed

TRANSFER = 4 * 3600.0  # seconds; a copy on one machine ends with an error long before
LONGEST_SOCKET_PATH = 107  # bytes that fit into a unix socket's address
_KILLED = 128  # shells add a signal's number to it


@dataclass(frozen=True)
class Machine:
    """What a host of the lab is.

    id: UUID, also the mark by which its mounts, and so its processes, are recognised. cable: how it is joined to the fabric.
    hypervisor: whether it runs libvirt.
    """

    name: str
    id: str
    cable: netns.Attachment
    hypervisor: bool

    @property
    def namespace(self) -> str:
        return self.cable.namespace

    @property
    def mark(self) -> str:
        """Source of the host's /run as its mount table shows it."""
        return f"naos-{self.id}"


def write_machine(folder: Path, machine: Machine) -> None:
    write_whole(folder / "host.json", json.dumps(asdict(machine), indent=2) + "\n")


def read_machine(folder: Path) -> Machine:
    """Raises Missing when the folder holds no host."""
    try:
        kept = json.loads((folder / "host.json").read_text(encoding="utf-8"))
        return Machine(**(kept | {"cable": netns.Attachment(**kept["cable"])}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Missing("this machine", f"lab host in {folder}", f"{error}; run `naos lab up`") from error


def holder(folder: Path, machine: Machine) -> Process | None:
    """The process that keeps the host; None when the host is off."""
    try:
        kept = json.loads((folder / "holder.json").read_text(encoding="utf-8"))
        process, boot = Process(kept["pid"], kept["start"]), kept["boot"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if boot != processes.boot_id() or not processes.alive(process):
        return None
    inside = processes.network_namespace(process.pid)
    return process if inside is not None and inside == netns.inode(machine.namespace) else None


class NamespaceHost:
    """The lab's host in `folder`. Commands run as on a machine of its own; files outside its private folders are shared."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._folder = folder

    # ------------------------------------------------------------------------------------------------------------- port

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout: float = 30.0,
        check: bool = True,
    ) -> Completed:
        """Run one command; at the deadline it is killed.

        Raises Unreachable when the host is off or the deadline passed, else CommandFailed.
        """
        with self._entered() as (enter, handles):
            try:
                done = subprocess.run(
                    [*enter, "--", *argv],
                    input=stdin,
                    capture_output=True,
                    timeout=timeout,
                    check=False,
                    pass_fds=handles,
                    start_new_session=True,
                )
            except subprocess.TimeoutExpired as error:
                raise Unreachable(self.name, argv[0], f"no answer within {timeout:g} s") from error
        if done.returncode < 0 and self._holder() is None:
            raise Unreachable(self.name, argv[0], "the host lost its power")
        code = done.returncode if done.returncode >= 0 else _KILLED - done.returncode
        result = Completed(code, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        if check and code != 0:
            raise CommandFailed(self.name, shlex.join(argv), result.stderr.strip() or f"exit code {code}")
        return result

    def put(self, source: Path, target: str) -> None:
        """Copy a local file to the host: complete under `target`, or not there at all. Holes stay holes.

        Raises Missing when there is no such file here, else as `run`.
        """
        if not source.is_file():
            raise Missing("this machine", f"file {source}", f"it was to be copied to {self.name}")
        partial = str(Path(target).parent / f".naos-{uuid.uuid4().hex}")
        try:
            # read through our own mount table: the file may lie where the host has a private folder
            self._copy(f"/proc/{os.getpid()}/root{source.absolute()}", partial)
            self.run(["sync", "--", partial], timeout=TRANSFER)
            self.run(["mv", "-f", "-T", "--", partial, target])
        finally:
            with contextlib.suppress(EngineError):
                self.run(["rm", "-f", "--", partial])

    def get(self, source: str, target: Path) -> None:
        """Copy a file from the host: complete under `target`, or not there at all. Holes stay holes.

        Raises Missing when the host has no such file, else as `run`.
        """
        if self.run(["test", "-f", source], check=False).code != 0:
            raise Missing(self.name, f"file {source}", "it was to be copied from there")
        partial = target.absolute().parent / f".naos-{uuid.uuid4().hex}"
        try:
            self._copy(source, f"/proc/{os.getpid()}/root{partial}")
            with partial.open("rb") as handle:
                os.fsync(handle.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def socket(self, path: str) -> Iterator[str]:
        """A path on this machine that reaches the unix socket `path` of the host while the context is open."""
        process = self._holder()
        if process is None:
            raise Unreachable(self.name, f"socket {path}", "the host is off")
        near = f"/proc/{process.pid}/root{path}"
        if len(os.fsencode(near)) <= LONGEST_SOCKET_PATH:
            yield near
            return
        with tempfile.TemporaryDirectory(prefix="naos-") as folder:
            short = Path(folder, "s")
            short.symlink_to(near)
            yield str(short)

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _holder(self) -> Process | None:
        return holder(self._folder, read_machine(self._folder))

    @contextlib.contextmanager
    def _entered(self) -> Iterator[tuple[list[str], list[int]]]:
        """How a command begins that is to run inside, and the handles that it inherits.

        The namespaces are opened first and the holder is looked at afterwards, so that they are never another process's.
        """
        process = self._holder()
        handles: list[int] = []
        try:
            if process is not None:
                with contextlib.suppress(OSError):
                    paths = [f"/proc/{process.pid}/ns/{kind}" for kind in ("mnt", "uts", "net")]
                    handles.extend(os.open(path, os.O_RDONLY) for path in paths)
            if process is None or not processes.alive(process):
                raise Unreachable(self.name, "running a command", "the host is off")
            mount, names, network = (f"/proc/self/fd/{handle}" for handle in handles)
            yield ["nsenter", f"--mount={mount}", f"--uts={names}", f"--net={network}"], handles
        finally:
            for handle in handles:
                os.close(handle)

    def _copy(self, source: str, target: str) -> None:
        self.run(["cp", "--sparse=always", "--no-preserve=mode", "-T", "--", source, target], timeout=TRANSFER)
