"""Checksums that are computed while an image is still being received."""

import os
import subprocess
from pathlib import Path

import pytest

from naos.engines.points.onhost import early, layers

SIZE = 8 * 2**20 + 4096


def change(path: Path, *writes: str) -> None:
    words = [word for line in writes for word in ("-c", line)]
    subprocess.run(["qemu-io", "-f", "qcow2", *words, path], check=True, capture_output=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(SIZE)], check=True)
    change(path, "write -P 1 64K 3M", "write -z 4M 1M")
    return path


def counted(path: Path, known: Path) -> tuple[bytes, list[int]]:
    """What the checksums of the image are, and the blocks that had to be read for them."""
    read: list[int] = []

    def digests(pieces, _pace, take):  # type: ignore[no-untyped-def] - as hashing.digests
        for piece in list(pieces):
            read.extend(range(piece.first, piece.first + -(-piece.length // early.BLOCK)))
            take(piece.first, layers.hashing.of(piece))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers.hashing, "digests", digests)
        return bytes(layers.count(str(path), str(known))._digests), read


def test_what_lies_where_it_lay_is_not_read_again(image: Path, tmp_path: Path) -> None:
    kept, none = tmp_path / "early", tmp_path / "none"
    file = os.open(image, os.O_RDONLY)
    look = early._Look(file, str(kept))
    look.go_on(lambda: False)
    assert counted(image, kept)[1] == list(range(1, 49))
    look.go_on(lambda: True)
    assert counted(image, kept) == (counted(image, none)[0], [])
    change(image, "write -P 2 6M 128K", f"write -P 3 {SIZE - 4096} 4096", "write -P 4 0 64K")
    assert counted(image, kept)[1] == [0, 96, 97, 128]
    look.go_on(lambda: True)
    assert counted(image, kept) == (counted(image, none)[0], [])
    os.close(file)


def test_nothing_is_added_while_an_image_is_sealed(image: Path, tmp_path: Path) -> None:
    kept = tmp_path / "early"
    file = os.open(image, os.O_RDONLY)
    look = early._Look(file, str(kept))
    sealing = early.Known(str(kept))
    look.go_on(lambda: True)
    assert kept.stat().st_size == 0
    sealing.close()
    look.go_on(lambda: True)
    assert kept.stat().st_size == 49 * 24
    os.close(file)


def test_a_block_that_lies_elsewhere_by_now_is_read_again(image: Path, tmp_path: Path) -> None:
    kept = tmp_path / "early"
    file = os.open(image, os.O_RDONLY)
    early._Look(file, str(kept)).go_on(lambda: True)
    os.close(file)
    data = bytearray(kept.read_bytes())
    data[7 * 24 : 7 * 24 + 8] = (2**30).to_bytes(8, "big")
    kept.write_bytes(data)
    found, read = counted(image, kept)
    assert 7 in read
    assert found == counted(image, tmp_path / "none")[0]
