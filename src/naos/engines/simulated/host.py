"""A simulated host: a folder, and the commands that the controller runs on real ones."""

import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from naos.engines.errors import CommandFailed, Missing, Unsupported
from naos.engines.ports import Completed
from naos.engines.simulated.calls import SimulatedEngine

_Answer = tuple[int, str, str]
_SHELL = ["sh", "-eu", "-s"]
_BOOT = ["cat", "/proc/sys/kernel/random/boot_id"]


def place_of(folder: Path, host: str, path: str) -> Path:
    """Where a host's absolute path lies in the world's folder. Raises Unsupported for one that leaves it."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() or ".." in pure.parts:
        raise Unsupported(host, f"the path {path!r}", "a simulated host knows absolute paths without '..'")
    return folder / "hosts" / host / pure.relative_to("/")


class SimulatedHost(SimulatedEngine):
    """`mkdir -p`, `rm -f`, `ls`, the space of a file system and what it is booted as, and files. Of scripts it knows those of lines
    `true`, `false` and comments, and keeps them in /scripts. Everything else is refused: there is nothing to run it on."""

    port = "host"

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 30.0, check: bool = True) -> Completed:
        del timeout
        with self._call("run") as db:
            if list(argv[:2]) == _BOOT:
                row = db.execute("SELECT boots FROM engines WHERE name = ?", (self.name,)).fetchone()
                code, out, error = 1, f"simulated-boot-{row['boots']}\n", ""
            else:
                code, out, error = self._script(stdin.decode()) if list(argv) == _SHELL else self._execute(argv)
        if check and code != 0:
            raise CommandFailed(self.name, " ".join(argv), error)
        return Completed(code, out, error)

    def _script(self, text: str) -> _Answer:
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        if not set(lines) <= {"", "true", "false"}:
            raise Unsupported(self.name, "this script", "a simulated shell knows true, false and comments")
        place = self._place("/scripts")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{len(list(place.iterdir())):04}").write_text(text, encoding="utf-8")
        return (1, "", "false\n") if "false" in lines else (0, "", "")

    def _execute(self, argv: Sequence[str]) -> _Answer:
        commands: tuple[tuple[tuple[str, ...], Callable[[Path], _Answer]], ...] = (
            (("mkdir", "-p"), _make),
            (("rm", "-f"), _remove),
            (("ls",), _list),
            (("stat", "-f", "-c", "%S %b %a"), _space),
        )
        for words, command in commands:
            paths = argv[len(words) :]
            if tuple(argv[: len(words)]) == words and paths and not any(path.startswith("-") for path in paths):
                answers = [command(self._place(path)) for path in paths]
                output = "".join(out for _, out, _ in answers)
                return max(code for code, _, _ in answers), output, "".join(error for _, _, error in answers)
        raise Unsupported(
            self.name, f"the command {' '.join(argv)!r}", "a simulated host has mkdir -p, rm -f, ls and stat -f"
        )

    def _place(self, path: str) -> Path:
        return place_of(self._store.folder, self.name, path)

    def put(self, source: Path, target: str) -> None:
        if not source.is_file():
            raise Missing("this machine", f"file {source}", f"it was to be copied to {self.name}")
        with self._call("put"):
            place = self._place(target)
            if place.is_dir() or not place.parent.is_dir():
                raise CommandFailed(self.name, f"copying {source} to {target}", "no such folder, or a folder itself")
            staging = place.with_name(f".naos-{uuid.uuid4().hex}")
            try:
                shutil.copyfile(source, staging)
                staging.replace(place)
            finally:
                staging.unlink(missing_ok=True)

    def get(self, source: str, target: Path) -> None:
        with self._call("get"):
            place = self._place(source)
            if not place.is_file():
                raise Missing(self.name, f"file {source}", "it was to be copied from there")
            staging = target.with_name(f".naos-{uuid.uuid4().hex}")
            try:
                shutil.copyfile(place, staging)
                staging.replace(target)
            finally:
                staging.unlink(missing_ok=True)

    def socket(self, path: str) -> AbstractContextManager[str]:
        raise Unsupported(self.name, f"the socket {path}", "nothing listens on a simulated host")


def _make(place: Path) -> _Answer:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return 1, "", f"mkdir: {error}\n"
    return 0, "", ""


def _remove(place: Path) -> _Answer:
    try:
        place.unlink(missing_ok=True)
    except NotADirectoryError:
        return 0, "", ""
    except OSError as error:
        return 1, "", f"rm: {error}\n"
    return 0, "", ""


def _space(place: Path) -> _Answer:
    """Block size, blocks in all, blocks free: of the file system on which the simulated world lies."""
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return 0, f"{found.f_frsize} {found.f_blocks} {found.f_bavail}\n", ""


def _list(place: Path) -> _Answer:
    try:
        names = sorted(entry.name for entry in place.iterdir()) if place.is_dir() else [place.stat() and place.name]
    except OSError as error:
        return 2, "", f"ls: {error}\n"
    return 0, "".join(f"{name}\n" for name in names if not name.startswith(".")), ""
