"""What is said of an image's content when it becomes a template: read from its files, whatever they are."""

import subprocess

import pytest

from naos.catalogue.images import commands, remarks

ID = "0123456789abcdef0123456789abcdef\n"


def made(folder, content, *, partitioned=False, kind="ext4"):
    """A qcow2 image of a disk whose file system has this /etc/machine-id; None: it has none."""
    root, raw, image = folder / "root", folder / "raw", folder / "image.qcow2"
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").write_text("template\n")
    if content is not None:
        (root / "etc/machine-id").write_text(content)
    offset = 2**20 if partitioned else 0
    with raw.open("wb") as file:
        file.truncate(offset + 16 * 2**20)
    options = ["-E", f"offset={offset}"] if partitioned else []
    run("mke2fs", "-q", "-t", kind, "-d", root, *options, raw, str(16 * 1024))
    if partitioned:
        run("sfdisk", "-q", raw, stdin=b"label: gpt\nstart=2048, name=root\n", grow=raw)
    run("qemu-img", "convert", "-O", "qcow2", raw, image)
    return image


def run(*argv, stdin=b"", grow=None):
    if grow is not None:  # room for the second table
        with grow.open("r+b") as file:
            file.truncate(grow.stat().st_size + 2**20)
    subprocess.run(
        [str(word) for word in argv], input=stdin, check=True, capture_output=True, env=commands.environment()
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [(ID, [remarks.MACHINE_ID]), ("", []), ("uninitialized\n", []), (None, [])],
)
def test_a_machine_id_that_every_clone_would_have_is_warned_of(tmp_path, content, said):
    """Clones with one machine-id get one DHCP lease."""
    assert remarks.of_image(made(tmp_path, content)) == said


def test_it_is_found_behind_a_partition_table(tmp_path):
    assert remarks.of_image(made(tmp_path, ID, partitioned=True, kind="ext2")) == [remarks.MACHINE_ID]


def test_what_cannot_be_read_is_nothing_to_warn_of(tmp_path):
    image = made(tmp_path, ID)
    whole = image.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2]):
        image.write_bytes(damaged)
        assert remarks.of_image(image) in ([], [remarks.MACHINE_ID])
    image.unlink()
    assert remarks.of_image(image) == []
