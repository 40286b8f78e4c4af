"""What images' snapshots hold, read from the images' own tables."""

import io
import random
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.engines import layouts
from naos.engines.array import held

MIB = 2**20
CLUSTER = 1 << layouts.PLAIN


def _image(path: Path, *steps: str) -> dict[str, int]:
    """An image of 64 MiB after these steps; a word alone takes a snapshot of that name, "-word" deletes it, "=word" goes back to it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)
    for step in steps:
        option = {"-": "-d", "=": "-a"}.get(step[0], "-c")
        argv = ["qemu-io", "-f", "qcow2", "-c", step, path]
        if " " not in step:
            argv = ["qemu-img", "snapshot", option, step.lstrip("-="), path]
        subprocess.run(argv, check=True, capture_output=True)
    with path.open("rb") as image:
        return held.held(image)


def test_a_snapshot_holds_what_was_written_anew_since(tmp_path: Path) -> None:
    """The blocks, and the table of them; what is written where nothing was is nobody's."""
    steps = ["write 0 4M", "first", "write 1M 1M", "write 32M 2M", "second", "write 0 3M"]
    assert _image(tmp_path / "a", *steps[:2]) == {"first": 0}
    assert _image(tmp_path / "b", *steps[:4]) == {"first": MIB + CLUSTER}
    assert _image(tmp_path / "c", *steps) == {"first": MIB + CLUSTER, "second": 3 * MIB + CLUSTER}
    shared = _image(tmp_path / "d", "write 0 4M", "first", "second", "write 1M 1M")
    assert shared == {"first": 0, "second": MIB + CLUSTER}
    assert _image(tmp_path / "e", "write 0 4M", "first", "second", "write 1M 1M", "-second") == {"first": MIB + CLUSTER}


def test_all_of_it_together_is_what_deleting_them_all_gives_back(tmp_path: Path) -> None:
    path, drawn = tmp_path / "image", random.Random(7)
    steps = []
    for number in range(4):
        steps += [f"write {drawn.randrange(240) * 256}k {drawn.randrange(1, 16) * 64}k" for _ in range(3)]
        steps += [f"s{number}"]
    steps += ["=s1", "write 8M 2M"]
    holding = sum(_image(path, *steps).values())
    taken = _clusters(path)
    for number in range(4):
        subprocess.run(["qemu-img", "snapshot", "-d", f"s{number}", path], check=True)
    # beside them each snapshot had a table of the first level, and all of them had their list
    assert taken - _clusters(path) == holding // CLUSTER + 4 + 1


def _clusters(path: Path) -> int:
    """How many clusters are taken, by the image's own counts of references (of 16 bits)."""
    content = path.read_bytes()
    table, size = int.from_bytes(content[48:56], "big"), int.from_bytes(content[56:60], "big") * CLUSTER
    blocks = [int.from_bytes(content[at : at + 8], "big") for at in range(table, table + size, 8)]
    return sum(content[at : at + 2] != b"\0\0" for block in blocks if block for at in range(block, block + CLUSTER, 2))


@given(st.binary(max_size=200))
def test_what_is_no_image_is_no_trouble(content: bytes) -> None:
    header = bytes.fromhex("514649fb00000003")
    for text in (content, header + content):
        try:
            found = held.held(io.BytesIO(text))
        except (ValueError, OverflowError, held.struct.error):
            continue
        assert all(size >= 0 for size in found.values())


def test_an_image_with_subclusters_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "image"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on,cluster_size=1M", path, "64M"], check=True
    )
    with path.open("rb") as image, pytest.raises(ValueError, match="no such image"):
        held.held(image)
