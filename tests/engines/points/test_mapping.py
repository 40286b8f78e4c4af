"""Where an image's own data lie: what is read of its tables is what QEMU says of it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from naos.engines.points.onhost import mapping
from naos.engines.points.onhost.mapping import Extent, Strange
from naos.engines.points.onhost.sums import BLOCK, UNKNOWN, ZEROES, Table

SIZE = 600 * 2**20 + 4096  # two tables, and a short block at the end


def image(path: Path, *writes: str, options: tuple[str, ...] = ()) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(SIZE)], check=True)
    words = [word for line in writes for word in ("-c", line)]
    if words:
        subprocess.run(["qemu-io", "-f", "qcow2", "-d", "unmap", *words, path], check=True, capture_output=True)
    return path


def own(path: Path) -> list[Extent]:
    file = os.open(path, os.O_RDONLY)
    try:
        return list(mapping.own(file))
    finally:
        os.close(file)


def blocks(extents: list[Extent]) -> dict[int, int | None]:
    """Of each block its offset in the file, None for zeroes."""
    return {
        extent.first + number: None if extent.offset is None else extent.offset + number * BLOCK
        for extent in extents
        for number in range(-(-extent.length // BLOCK))
    }


def test_the_tables_say_what_qemu_says(tmp_path: Path) -> None:
    image(tmp_path / "base", "write -P 9 0 3M")
    over = ("-b", str(tmp_path / "base"), "-F", "qcow2")
    writes = ("write -P 1 512M 128K", "write -P 2 64K 64K", "write -z 1M 512K", f"write -P 3 {SIZE - 4096} 4096")
    made = image(tmp_path / "top", *writes, "write -P 4 511M 1M", "discard 2M 64K", options=over)
    said = json.loads(subprocess.check_output(["qemu-img", "map", "--output=json", "-f", "qcow2", made]))
    wanted: dict[int, int | None] = {}
    for part in said:
        if not part["depth"] and part["present"]:
            for at in range(0, part["length"], BLOCK):
                wanted[(part["start"] + at) // BLOCK] = None if part["zero"] else part["offset"] + at
    found = own(made)
    assert blocks(found) == wanted
    assert found[-1].length == 4096
    assert own(tmp_path / "base")[0].length == 3 * 2**20
    assert own(image(tmp_path / "empty")) == []


@pytest.mark.parametrize("options", [("-o", "cluster_size=128K"), ("-o", "extended_l2=on,cluster_size=64K")])
def test_an_image_of_another_kind_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    made = image(tmp_path / "strange", "write -P 1 0 1M", options=options)
    with pytest.raises(Strange):
        own(made)


def test_an_image_that_ends_early_is_refused(tmp_path: Path) -> None:
    made = image(tmp_path / "short", "write -P 1 0 1M")
    os.truncate(made, 3 * BLOCK)
    with pytest.raises(Strange):
        own(made)


def test_a_table_lists_what_is_known_wherever_it_is() -> None:
    table = Table(5000 * BLOCK)
    known = {0: b"a" * 16, 1: ZEROES, 2: ZEROES, 1023: b"b" * 16, 1024: b"c" * 16, 3000: ZEROES, 4999: b"d" * 16}
    for block, value in known.items():
        table.put(block, value)
    table.lay(4998, [b"e" * 16, b"f" * 16, b"g" * 16])  # the disk was larger once
    known |= {4998: b"e" * 16, 4999: b"f" * 16}
    listed = [(first + number, value) for first, count, value in table.runs() for number in range(count)]
    assert listed == sorted(known.items())
    assert list(Table(70000 * BLOCK).runs()) == []
    assert table.get(2999) == UNKNOWN
