"""Files through the guest's agent: the agent itself, as it is in guests, run here beside a folder instead of in a machine."""

import hashlib
import json
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from naos.catalogue.images import packages, store
from naos.engines.errors import GuestRefused
from naos.engines.hypervisor import agent
from naos.engines.hypervisor.guest_files import AgentFiles
from naos.engines.ports.files import GuestAttributes

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """A question to a running agent, and its answer."""
    folder = tmp_path_factory.mktemp("ga")
    wanted = packages.candidates(["qemu-guest-agent"])
    packages.fetch(wanted, store.CACHE / "packages")
    packages.unpack(wanted, store.CACHE / "packages", folder / "tree")
    path = folder / "s"
    argv = [folder / "tree/usr/sbin/qemu-ga", "-m", "unix-listen", "-p", path, "-t", folder, "-f", folder / "pid"]
    with subprocess.Popen(argv) as process, socket.socket(socket.AF_UNIX) as connection:
        try:
            until = time.monotonic() + 20
            while not path.exists() and time.monotonic() < until:
                time.sleep(0.01)
            connection.connect(str(path))
            stream = connection.makefile("rwb")

            def ask(
                _domains: object,
                _id: str,
                command: str,
                arguments: Mapping[str, Any] | None = None,
                *,
                timeout: int = 5,
            ) -> Any:
                connection.settimeout(timeout)
                stream.write(json.dumps({"execute": command, "arguments": dict(arguments or {})}).encode() + b"\n")
                stream.flush()
                answer = json.loads(stream.readline())
                if "error" in answer:
                    raise GuestRefused("here", command, answer["error"]["desc"])
                return answer["return"]

            yield ask
        finally:
            process.terminate()


@pytest.fixture
def files(asked: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> AgentFiles:
    monkeypatch.setattr(agent, "ask", asked)
    return AgentFiles(SimpleNamespace(where="here"), "domain")


def test_a_file_is_written_read_back_and_placed(files: AgentFiles, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(5 * 2**20 + 7)
    staged, target = f"{tmp_path}/.staged", tmp_path / "it's é"
    assert files.has(str(tmp_path), folder=True)
    assert not files.has(str(target))
    assert files.write(staged, iter([data[:3000000], data[3000000:]])) == hashlib.sha256(data).hexdigest()
    files.finish([GuestAttributes(staged, 0o640, 3, 4, 1600000000.5)])
    assert files.place(staged, str(target), overwrite=False)
    status = target.stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid, int(status.st_mtime)) == (0o640, 3, 4, 1600000000)
    files.write(staged, iter([b"other"]))
    assert not files.place(staged, str(target), overwrite=False)
    assert target.read_bytes() == data
    assert files.place(staged, str(target), overwrite=True)
    assert target.read_bytes() == b"other"
    with pytest.raises(GuestRefused):
        files.write(f"{tmp_path}/nowhere/file", iter([b"x"]))


def test_a_folder_is_placed_and_keeps_what_it_had(files: AgentFiles, tmp_path: Path) -> None:
    staged, target = f"{tmp_path}/.staged", tmp_path / "tree"
    files.make_folder(f"{staged}/a/b")
    files.write(f"{staged}/a/b/file", iter([b"x"]))
    files.finish(
        [GuestAttributes(f"{staged}/link", 0, 0, 0, 0, "/etc/passwd"), GuestAttributes(staged, 0o700, 0, 0, 1e9)]
    )
    assert files.place(staged, str(target), overwrite=False)
    assert str((target / "link").readlink()) == "/etc/passwd"
    files.make_folder(staged)
    files.write(f"{staged}/new", iter([b"n"]))
    assert not files.place(staged, str(target), overwrite=False)
    assert files.place(staged, str(target), overwrite=True)
    assert sorted(path.name for path in target.iterdir()) == ["a", "link", "new"]
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]
    (tmp_path / "file").write_text("kept")
    with pytest.raises(GuestRefused):  # a file never takes a folder's place
        files.place(str(tmp_path / "file"), str(target), overwrite=True)
    files.remove(str(target))
    files.remove(str(target))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
