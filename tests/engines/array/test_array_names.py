"""Ids to names of files, nodes, exports and jobs, and back."""

import re
import uuid

import pytest
from array_fakes import DISK, LUN, OTHER, FakeHost, a_place
from hypothesis import given
from hypothesis import strategies as st

from naos.engines.array import contents, exports, images, jobs, nodes
from naos.engines.array.driver import StorageDaemonArray
from naos.engines.array.places import Place
from naos.engines.errors import CommandFailed, Unsupported
from naos.engines.ports import Completed

IDS = st.uuids().map(str)


@given(IDS, st.sampled_from([nodes.FILE, nodes.IMAGE, nodes.THROTTLE]))
def test_a_nodes_name_fits_and_gives_the_id_back(object_id, kind):
    name = nodes.node(kind, object_id)
    assert len(name) <= 31
    assert re.fullmatch(r"[a-z][a-z0-9._-]*", name)
    assert nodes.object_of(name) == object_id


@given(IDS, st.integers(0, 2**40))
def test_an_exports_id_gives_disk_and_epoch_back(disk_id, epoch):
    assert exports.parse(f"x.{exports.name(disk_id, epoch)}") == (disk_id, epoch)


@pytest.mark.parametrize("foreign", ["", "x.", "y", f"{DISK}.1", f"x.{DISK}", f"x.{DISK}.one", "export0"])
def test_other_exports_are_nobodys(foreign):
    assert exports.parse(foreign) is None


@pytest.mark.parametrize("text", ["", "../x", "*", LUN.upper(), LUN.replace("-", ""), f"{LUN}\n", f"{{{LUN}}}"])
def test_only_uuids_reach_paths(text):
    place = a_place()
    for path in (place.disk, place.disk_unfinished, place.disk_reserved, place.template):
        with pytest.raises(Unsupported, match="ids are UUIDs"):
            path(text)
    with pytest.raises(Unsupported, match="ids are UUIDs"):
        Place("array1", place.host, "/array", text)


def test_a_folder_whose_socket_would_not_fit_is_refused_with_the_numbers():
    a_place(root="/" + "a" * 64)
    with pytest.raises(Unsupported, match="108 bytes and may have at most 107"):
        a_place(root="/" + "a" * 66)


@pytest.mark.parametrize("code", [2, 127, 255])
def test_an_unclear_answer_is_never_taken_for_absence(code):
    host = FakeHost(lambda _argv: Completed(code, "", "cannot say"))
    with pytest.raises(CommandFailed, match="cannot say"):
        a_place(host).exists("/x")


@pytest.mark.parametrize(
    ("backing", "path", "sentence"),
    [
        ("file", "array", "write its whole path"),
        *(("lvm", path, "write the group's name alone") for path in ("/dev/vg0", "", "-v", "..", "a b", "v" * 128)),
    ],
)
def test_what_cannot_be_an_array_is_refused(backing, path, sentence):
    with pytest.raises(Unsupported, match=sentence):
        StorageDaemonArray("array1", a_place().host, "10.0.0.1", backing, path)


def test_jobs_are_told_by_their_first_disk():
    assert jobs.job_id(jobs.COPY, DISK, OTHER) == f"copy.{DISK}.{OTHER}"


def test_files_are_told_apart_by_their_names():
    template_id = str(uuid.uuid4())
    found = contents.sort_out(
        [
            "disks/",
            "templates/",
            f"disks/{DISK}.qcow2",
            f"disks/{DISK}.reserved",
            f"disks/{OTHER}.new",
            f"templates/{template_id}.qcow2",
            "lost+found/",
            "disks/a name\nof two lines",
            f"disks/{DISK}.qcow2/",
            f"templates/{DISK}.new",
            f"{DISK}.qcow2",
        ]
    )
    assert found.disks == sorted([DISK, OTHER])
    assert found.templates == [template_id]
    assert len(found.foreign) == 5


@given(IDS)
def test_a_clones_reference_names_its_template(template_id):
    assert images.template_of(f"../templates/{template_id}.qcow2") == template_id


@pytest.mark.parametrize(
    "backing",
    [
        "/etc/shadow",
        f"../templates/../{DISK}.qcow2",
        f"json:../templates/{DISK}.qcow2",
        "../templates/------------------------------------.qcow2",
    ],
)
def test_no_other_reference_is_followed(backing):
    with pytest.raises(Unsupported, match="no template of the volume"):
        images.template_of(backing)
