"""Master keys from a key server: the protocol by its bytes, and a server that asks for certificates."""

import base64
import os
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_platform import inventory_text

from naos.engines.errors import EngineError
from naos.inventory import certificates
from naos.inventory.model import load
from naos.storage import kmip, volume_keys
from naos.storage.errors import NoVolumeKeys
from naos.storage.kmip import Address, KeyServerError
from naos.storage.master_keys import Keyring

LUN = "0b0e1f5c-2f8e-4b55-9f25-7a3b5a6f0d11"


def item(tag: int, kind: int, value: bytes) -> bytes:
    return struct.pack(">II", tag << 8 | kind, len(value)) + value + bytes(-len(value) % 8)


def whole(tag: int, kind: int, value: int) -> bytes:
    return item(tag, kind, struct.pack(">I", value))


def answer(identifier: str, key: bytes, *, kind: int = 2, wrapped: bool = False) -> bytes:
    """A server's answer to a `Get` that it grants."""
    block = whole(0x420042, 5, 1) + item(0x420045, 1, item(0x420043, 8, key))
    block += whole(0x420028, 5, 3) + whole(0x42002A, 2, len(key) * 8) + (item(0x420046, 1, b"") if wrapped else b"")
    given = (
        whole(0x420057, 5, kind) + item(0x420094, 7, identifier.encode()) + item(0x42008F, 1, item(0x420040, 1, block))
    )
    return message(whole(0x42007F, 5, 0) + item(0x42007C, 1, given))


def refusal(words: str) -> bytes:
    return message(whole(0x42007F, 5, 1) + whole(0x42007E, 5, 1) + item(0x42007D, 7, words.encode()))


def message(said: bytes) -> bytes:
    version = item(0x420069, 1, whole(0x42006A, 2, 1) + whole(0x42006B, 2, 2))
    header = item(0x42007A, 1, version + item(0x420092, 9, struct.pack(">q", 1764200000)) + whole(0x42000D, 2, 1))
    return item(0x42007B, 1, header + item(0x42000F, 1, whole(0x42005C, 5, 0x0A) + said))


def test_a_request_is_what_the_protocol_says() -> None:
    assert kmip.request("7").hex() == (
        "4200780100000080"  # request message
        "42007701000000384200690100000020"  # header, protocol version
        "42006a02000000040000000100000000"
        "42006b02000000040000000200000000"  # 1.2
        "42000d02000000040000000100000000"  # one item
        "42000f010000003842005c0500000004"
        "0000000a00000000"  # Get
        "4200790100000020"
        "42009407000000013700000000000000"
        "42004205000000040000000100000000"
    )


GIVEN = bytes.fromhex(
    "42007b010000011042007a0100000048420069010000002042006a0200000004000000010000000042006b02000000040000"
    "0002000000004200920900000008000000006b08d26d42000d0200000004000000010000000042000f01000000b842005c05"
    "000000040000000a0000000042007f0500000004000000000000000042007c01000000904200570500000004000000020000"
    "00004200940700000001310000000000000042008f0100000068420040010000006042004205000000040000000100000000"
    "42004501000000284200430800000020968c6bd0e57ff92b831bc706676402caa24717fa9a6e07332efeb44e2178c7d24200"
    "280500000004000000030000000042002a02000000040000010000000000"
)
REFUSED = bytes.fromhex(
    "42007b01000000b042007a0100000048420069010000002042006a0200000004000000010000000042006b02000000040000"
    "0002000000004200920900000008000000006b08d26e42000d0200000004000000010000000042000f010000005842005c05"
    "000000040000000a0000000042007f0500000004000000010000000042007e0500000004000000010000000042007d070000"
    "001a436f756c64206e6f74206c6f63617465206f626a6563743a2039000000000000"
)
"""What PyKMIP's server answered: with its key 1, and to a `Get` of 9, which it does not have."""


def test_the_answers_of_another_implementation_are_understood() -> None:
    assert kmip.material(GIVEN, "1").hex() == "968c6bd0e57ff92b831bc706676402caa24717fa9a6e07332efeb44e2178c7d2"
    with pytest.raises(KeyServerError, match="refused: Could not locate object: 9"):
        kmip.material(REFUSED, "9")


@given(st.binary(min_size=1, max_size=80), st.text(min_size=1, max_size=40))
def test_the_key_comes_out_of_an_answer(key: bytes, identifier: str) -> None:
    assert kmip.material(answer(identifier, key), identifier) == key


@given(st.binary(max_size=300), st.integers(0, 400))
def test_what_is_no_answer_is_told_and_nothing_else(junk: bytes, cut: int) -> None:
    for broken in (junk, answer("7", bytes(32))[:cut]):
        if broken != answer("7", bytes(32)):
            with pytest.raises(KeyServerError):
                kmip.material(broken, "7")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (refusal("Could not locate object: 7"), "refused: Could not locate object: 7"),
        (answer("8", bytes(32)), "another key"),
        (answer("7", bytes(32), kind=7), "no symmetric key"),
        (answer("7", bytes(32), wrapped=True), "only wrapped"),
    ],
)
def test_what_is_no_key_is_told(said: bytes, told: str) -> None:
    with pytest.raises(KeyServerError, match=told):
        kmip.material(said, "7")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kmip://keys.example.org/7", Address("keys.example.org", 5696, "7")),
        ("kmip://10.0.0.7:5697/a%2Fb", Address("10.0.0.7", 5697, "a/b")),
        ("kmip://[fd00::7]/7", Address("fd00::7", 5696, "7")),
    ],
)
def test_addresses(text: str, found: Address) -> None:
    assert kmip.parse(text) == found


class Server:
    """Answers one request a connection, to those whose certificate is of its authority."""

    def __init__(self, folder: Path) -> None:
        self.keys: dict[str, bytes] = {}
        self.asked = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca-cert.pem"))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(folder / "server-cert.pem", folder / "server-key.pem")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            plain, _ = self._listening.accept()
            with plain:
                plain.settimeout(5)
                if not self._handle(plain):
                    return

    def _handle(self, plain: socket.socket) -> bool:
        if plain.recv(1, socket.MSG_PEEK) == b"q":
            return False
        try:
            with self._context.wrap_socket(plain, server_side=True) as connection:
                asked = connection.recv(4096)
                found = [name for name in self.keys if kmip.request(name) == asked]
                self.asked += 1
                connection.sendall(answer(found[0], self.keys[found[0]]) if found else refusal("no such key"))
        except OSError:
            pass
        return True

    def close(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"q")
        self._thread.join()
        self._listening.close()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificates of the server and of this client, of one authority; and others, of another one."""
    found = []
    for _ in range(2):
        folder = tmp_path_factory.mktemp("certificates")
        (folder / "inventory.toml").write_text(inventory_text().replace("10.0.5.2", "127.0.0.1"))
        list(certificates.issue(load(folder / "inventory.toml"), folder))
        found.append(folder / "arrays" / "az05-array")
    return found[0], found[1]


@pytest.fixture
def server(folders: tuple[Path, Path]) -> Iterator[Server]:
    made = Server(folders[0])
    yield made
    made.close()


def test_a_master_key_comes_from_a_key_server(server: Server, folders: tuple[Path, Path], tmp_path: Path) -> None:
    file, local = tmp_path / "volume-keys", base64.b64encode(os.urandom(32)).decode()
    file.write_text(f"kmip://127.0.0.1:{server.port}/7\n{local}\n")
    ring = Keyring(file, folders[0])
    with pytest.raises(NoVolumeKeys, match=f"kmip://127.0.0.1:{server.port}/7 did not give its key: .*no such key"):
        volume_keys.newest(ring)
    server.keys["7"] = os.urandom(32)
    wrapped = volume_keys.fresh(volume_keys.newest(ring), LUN)
    key = volume_keys.unwrapped(ring, LUN, wrapped)
    assert [getattr(master, "key", None) for master in ring.every()] == [server.keys["7"], base64.b64decode(local)]
    asked = server.asked
    file.write_text(f"{local}\nkmip://127.0.0.1:{server.port}/7\n")
    anew = volume_keys.rewrapped(ring, volume_keys.newest(ring), LUN, wrapped)
    assert server.asked == asked + 1
    del server.keys["7"]
    assert volume_keys.unwrapped(ring, LUN, anew) == key, "a key of the file needs no server"
    assert server.asked == asked + 1
    with pytest.raises(EngineError, match="did not give its key"):
        volume_keys.unwrapped(ring, LUN, wrapped)


def test_a_key_of_another_length_is_none(server: Server, folders: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "volume-keys"
    file.write_text(f"kmip://127.0.0.1:{server.port}/7\n")
    server.keys["7"] = bytes(16)
    with pytest.raises(NoVolumeKeys, match="a key of 128 bits, and 256 are needed"):
        volume_keys.newest(Keyring(file, folders[0]))


def test_neither_side_takes_a_stranger_for_the_other(
    server: Server, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    own, other = folders
    server.keys["7"] = bytes(32)
    address = Address("127.0.0.1", server.port, "7")
    with pytest.raises(KeyServerError, match="CERTIFICATE_VERIFY_FAILED"):
        kmip.get(address, other)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name, folder in zip(kmip.FILES, (own, other, other), strict=True):
        (mixed / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(KeyServerError):
        kmip.get(address, mixed)
    with pytest.raises(KeyServerError, match="cannot be used"):
        kmip.get(address, tmp_path)
    with pytest.raises(KeyServerError, match=r"[Hh]ostname|IP address"):
        kmip.get(Address("localhost", server.port, "7"), own)
    assert server.asked == 0


def test_a_server_that_is_away_is_told(folders: tuple[Path, Path]) -> None:
    with pytest.raises(KeyServerError, match="refused"):
        kmip.get(Address("127.0.0.1", 1, "7"), folders[0])
