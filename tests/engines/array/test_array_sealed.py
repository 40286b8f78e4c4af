"""Empty encrypted images that naos makes, as QEMU reads them."""

import json
import shutil
import subprocess

import pytest

from naos.engines.array import encryption, sealed

pytestmark = pytest.mark.skipif(shutil.which("qemu-io") is None, reason="needs QEMU's tools")
SECRET = b"c2VjcmV0IG9mIGEgdm9sdW1lCg=="
GIB = 2**30


def tool(*words, secret=SECRET):
    """A tool of QEMU's with the secret on its input."""
    name, *rest = words
    argv = [name, *(["check"] if name == "qemu-img" else []), "--object", encryption.OBJECT, *rest]
    return subprocess.run(argv, input=secret, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("size", "bits"),
    [
        *((size, 16) for size in (512, 2**20, GIB // 2, GIB // 2 + 512, 20 * 2**40)),
        *((size, 18) for size in (512, 64 * GIB, 64 * GIB + 512, 1024 * GIB)),
        *((size, 19) for size in (256 * GIB, 20 * 2**40)),
    ],
)
def test_it_is_whole_has_its_size_and_keeps_what_is_written_to_its_end(tmp_path, size, bits):
    path = tmp_path / "image.qcow2"
    path.write_bytes(sealed.image(size, SECRET, bits=bits))
    shown = subprocess.run(["qemu-img", "info", "--output=json", str(path)], capture_output=True, check=True)
    assert json.loads(shown.stdout)["cluster-size"] == 2**bits
    name = encryption.file_name(str(path))
    end = size - 512
    words = (
        "-c",
        f"read -P 0 {end} 512",
        "-c",
        f"write -P 90 {end} 512",
        "-c",
        f"read -P 90 {end} 512",
        "-c",
        "length",
    )
    done = tool("qemu-io", *words, name)
    assert done.returncode == 0, done.stderr
    assert b"verification failed" not in done.stdout
    assert tool("qemu-img", name).returncode == 0
    assert b"\x5a" * 512 not in path.read_bytes()
    wrong = tool("qemu-io", "-c", "read 0 512", name, secret=b"another")
    assert b"Invalid password" in wrong.stderr


def test_two_of_them_have_keys_of_their_own():
    one, other = (sealed.image(2**20, SECRET) for _ in range(2))
    begin = 3 * 65536 + 4096  # the key, spread over 256,000 bytes
    material = slice(begin, begin + 256_000)
    same = sum(a == b for a, b in zip(one[material], other[material], strict=True))
    assert same < 256_000 / 100


def test_it_names_the_image_that_it_backs_on(tmp_path):
    below, above = tmp_path / "below.qcow2", tmp_path / "above.qcow2"
    below.write_bytes(sealed.image(2**20, SECRET))
    tool("qemu-io", "-c", "write -P 7 0 64k", encryption.file_name(str(below)))
    above.write_bytes(sealed.image(2**21, SECRET, below.name))
    shown = subprocess.run(
        ["qemu-img", "info", "-f", "qcow2", above], capture_output=True, text=True, check=True
    ).stdout
    assert "backing file: below.qcow2" in shown
    assert "backing file format: qcow2" in shown
    done = tool("qemu-io", "-r", "-c", "read -P 7 0 64k", encryption.file_name(str(above), str(below)))
    assert done.returncode == 0, done.stderr
    assert b"verification failed" not in done.stdout
