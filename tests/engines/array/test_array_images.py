"""What images say of themselves."""

import contextlib
import struct
import subprocess

import pytest
from array_fakes import DISK, FakeHost, a_place
from hypothesis import given
from hypothesis import strategies as st

from naos.engines.array import images
from naos.engines.errors import CommandFailed, NoSpace, Unsupported
from naos.engines.ports import Completed, Provisioning

MIB = 2**20
VERSION, BACKING, FEATURES = (4, ">I"), (8, ">Q"), (72, ">Q")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(8 * MIB)], check=True)
    return path


def patch(path, place, value):
    offset, kind = place
    head = bytearray(path.read_bytes())
    struct.pack_into(kind, head, offset, value)
    path.write_bytes(head)


def test_a_whole_image_is_taken(image):
    assert images.check_template("array1", image) == 8 * MIB


def test_an_old_images_later_fields_mean_nothing(tmp_path):
    path = tmp_path / "old.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=0.10", path, str(MIB)], check=True)
    patch(path, FEATURES, 0xFF)
    assert images.check_template("array1", path) == MIB


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (VERSION, 4, "version 4"),
        (BACKING, 512, "another image below"),
        (FEATURES, 4, "data in another file"),
        (FEATURES, 2, "damaged"),
        ((0, ">I"), 0, "no qcow2"),
        ((32, ">I"), 1, "encrypted"),
    ],
)
def test_what_is_not_whole_is_refused_by_name(image, place, value, sentence):
    patch(image, place, value)
    with pytest.raises(Unsupported, match=sentence):
        images.check_template("array1", image)


@given(data=st.binary(max_size=120))
def test_any_bytes_are_refused_or_have_a_size(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes"
    path.write_bytes(data)
    with contextlib.suppress(Unsupported):  # nothing else may come of it
        assert images.check_template("array1", path) >= 0


def test_the_daemons_and_the_tools_words_are_read_alike():
    described = {"virtual-size": 5, "actual-size": 3, "backing-filename": f"../templates/{DISK}.qcow2"}
    assert images.facts(described) == images.ImageFacts(5, 3, DISK, ())
    snapshots = [{"name": "a", "id": "1"}, {"name": "b", "id": "2"}]
    assert images.facts({"virtual-size": 5, "snapshots": snapshots}).snapshots == ("a", "b")


def on_a_full_volume(argv):
    if argv[0] == "flock":
        return Completed(1, "", "qemu-img: x: Could not resize image: No space left on device")
    if argv[0] == "stat":
        return Completed(0, "4 4096" if "--file-system" in argv else "65536", "")
    return Completed(0, "/dev/loop0\n", "")


def test_a_full_volume_is_told_with_its_numbers():
    with pytest.raises(NoSpace, match="of 65536 bytes has 16384 free, up to") as caught:
        images.make_reserved(a_place(FakeHost(on_a_full_volume)), DISK, 5 * MIB, Provisioning.STATIC_DIFFERED)
    assert str(images.full_size(5 * MIB)) in str(caught.value)


def test_another_failure_stays_what_it_is():
    host = FakeHost(lambda _argv: Completed(1, "", "Permission denied"))
    with pytest.raises(CommandFailed, match="Permission denied"):
        images.make(a_place(host), "x", MIB, "disk x")
