"""What every host keeps to, over SSH (a real sshd on loopback) and in the lab's namespaces."""

import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from host_rig import SshServer, namespace_hosts

from naos.engines.errors import CommandFailed, EngineError, Missing, Unreachable

pytestmark = pytest.mark.lab
MIB = 2**20


@pytest.fixture(scope="module")
def ssh_server(tmp_path_factory):
    with SshServer(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["ssh", "namespace"], scope="module")
def host(request):
    if request.param == "ssh":
        made = request.getfixturevalue("ssh_server").host()
        yield made
        made.close()
    else:
        with namespace_hosts() as made:
            yield made


@pytest.fixture
def far(host, tmp_path):
    """A folder on the host."""
    folder = str(tmp_path / "far")
    host.run(["mkdir", "-p", folder])
    return folder


ECHO = [
    "python3",
    "-c",
    "import sys; sys.stdout.buffer.write(b'\\0'.join(a.encode('utf8', 'surrogateescape') for a in sys.argv[1:]))",
]


@pytest.mark.parametrize(
    "arguments",
    [
        ["plain"],
        ["two words", "  leading and trailing  "],
        [""],
        ["", "", "after empty ones"],
        ["-rf", "--", "--help"],
        ["$(touch /tmp/x)", "`id`", "$HOME", "${PATH}", "!!", "~", "*", "?", "[a-z]", "{a,b}"],
        ["'", '"', "\\", "\\n", "it's", 'say "hi"', "'\"'"],
        ["line one\nline two\n", "\ttab\r"],
        ["a;b", "a|b", "a&b", "a>b", "a<b", "#comment", "(sub)"],
        ["naïve", "日本語", "🦆", "e\u0301"],
        ["x" * 100_000],
    ],
)
def test_arguments_arrive_exactly(host, arguments):
    assert host.run([*ECHO, *arguments]).stdout.split("\0") == arguments


def test_input_reaches_the_command(host):
    data = bytes(range(128)) * 5000
    done = host.run(["sha256sum"], stdin=data)
    expected = subprocess.run(["sha256sum"], input=data, capture_output=True, check=True).stdout.decode()
    assert done.stdout == expected
    assert host.run(["cat"]).stdout == ""


def test_large_output(host):
    assert len(host.run(["head", "-c", "3000000", "/dev/zero"]).stdout) == 3_000_000


def test_output_that_is_no_text(host):
    assert host.run(["printf", "a\\377b"]).stdout == "a\ufffdb"


@pytest.mark.parametrize("code", [0, 1, 2, 126, 254, 255])
def test_exit_codes(host, code):
    argv = ["python3", "-c", f"import sys; print('out'); print('wrong', file=sys.stderr); sys.exit({code})"]
    done = host.run(argv, check=False)
    assert (done.code, done.stdout, done.stderr) == (code, "out\n", "wrong\n")
    if code:
        with pytest.raises(CommandFailed, match="wrong") as failure:
            host.run(argv)
        assert failure.value.where == host.name


def test_a_command_that_does_not_exist(host):
    assert host.run(["naos-no-such-command"], check=False).code == 127
    with pytest.raises(CommandFailed, match="naos-no-such-command"):
        host.run(["naos-no-such-command"])


def test_a_deadline_ends_the_wait(host):
    began = time.monotonic()
    with pytest.raises(Unreachable, match=r"sleep.*0\.5 s"):
        host.run(["sleep", "60"], timeout=0.5)
    assert time.monotonic() - began < 30
    assert host.run(["echo", "still", "there"]).stdout == "still there\n"


def test_many_at_once(host):
    results = {}

    def one(number):
        results[number] = host.run(["echo", str(number)]).stdout

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: f"{number}\n" for number in range(20)}


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def sparse(tmp_path):
    """64 MiB of which 3 pieces are there."""
    path = tmp_path / "sparse file"
    with path.open("wb") as handle:
        for offset in (0, 20 * MIB + 4096, 63 * MIB):
            handle.seek(offset)
            handle.write(os.urandom(8192))
        handle.truncate(64 * MIB)
    return path


def entries(folder):
    return [path.name for path in Path(folder).iterdir()]


def allocated(path):
    return Path(path).stat().st_blocks * 512


def test_a_sparse_file_goes_over_and_comes_back_with_its_holes(host, far, sparse, tmp_path):
    there = f"{far}/there"
    host.put(sparse, there)
    size, blocks = host.run(["stat", "-c", "%s %b", there]).stdout.split()
    assert int(size) == 64 * MIB
    assert int(blocks) * 512 < MIB
    assert host.run(["cmp", there, str(sparse)], check=False).code == 0
    back = tmp_path / "back"
    host.get(there, back)
    assert back.read_bytes() == sparse.read_bytes()
    assert allocated(back) < MIB
    assert host.run(["ls", "-A", far]).stdout == "there\n"


NAMES = ["plain", "-rf two words", 'it\'s "quoted" $(id) back\\slash\\101 ünï🦆 new\nline a:b *']


@pytest.mark.parametrize("name", NAMES)
def test_names_of_files(host, far, tmp_path, name):
    here = tmp_path / name
    here.write_text(name)
    host.put(here, f"{far}/{name}")
    assert Path(far, name).read_text() == name
    back = tmp_path / f"{name} back"
    host.get(f"{far}/{name}", back)
    assert back.read_text() == name
    assert entries(far) == [name]


def test_an_empty_file(host, far, tmp_path):
    (tmp_path / "empty").touch()
    host.put(tmp_path / "empty", f"{far}/empty")
    host.get(f"{far}/empty", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_a_file_is_replaced_at_once(host, far, tmp_path):
    """A reader sees the old file or the new one, whole."""
    for name, text in (("old", "old" * MIB), ("new", "new" * MIB)):
        (tmp_path / name).write_text(text)
    host.put(tmp_path / "old", f"{far}/file")
    seen, over = set(), threading.Event()

    def read():
        while not over.wait(0.005):  # else it takes the processor from what it looks at
            seen.add(Path(far, "file").read_text())

    reader = threading.Thread(target=read)
    reader.start()
    host.put(tmp_path / "new", f"{far}/file")
    host.put(tmp_path / "old", f"{far}/file")
    over.set()
    reader.join()
    assert seen <= {"old" * MIB, "new" * MIB}
    assert entries(far) == ["file"]


def test_a_copy_that_cannot_be_finished_leaves_nothing(host, far, tmp_path):
    (tmp_path / "file").write_text("x")
    Path(far, "folder").mkdir()
    with pytest.raises(EngineError):
        host.put(tmp_path / "file", f"{far}/folder")
    with pytest.raises(EngineError):
        host.put(tmp_path / "file", f"{far}/no/such/folder/file")
    assert entries(far) == ["folder"]
    assert entries(Path(far, "folder")) == []


def test_files_that_are_not_there(host, far, tmp_path):
    with pytest.raises(Missing):
        host.put(tmp_path / "nothing", f"{far}/nothing")
    with pytest.raises(Missing):
        host.get(f"{far}/nothing", tmp_path / "back")
    assert not (tmp_path / "back").exists()


# -------------------------------------------------------------------------------------------------------------- sockets


@pytest.fixture
def shouting(host, tmp_path):
    """The path of a socket on the host whose server answers in capitals."""
    path = tmp_path / "shout.sock"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(4096):
                    connection.sendall(data.upper())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield str(path)
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(5)


def shout(path, text):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(text)
        return client.recv(4096)


def test_a_socket_of_the_host(host, shouting):
    with host.socket(shouting) as near:
        assert shout(near, b"one") == b"ONE"
        assert shout(near, b"two") == b"TWO"
        with host.socket(shouting) as second:
            assert shout(second, b"three") == b"THREE"
        assert shout(near, b"four") == b"FOUR"
    with host.socket(shouting) as near:
        assert shout(near, b"five") == b"FIVE"


def test_a_socket_that_is_not_there(host, tmp_path):
    with pytest.raises((OSError, EngineError)), host.socket(str(tmp_path / "nothing.sock")) as near:  # noqa: PT012
        if not shout(near, b"x"):
            raise ConnectionResetError
