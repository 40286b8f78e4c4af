"""Files out of restore points, from the API down to bytes, on a simulated rack whose disks have real file systems."""

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from built_disks import MIB, Told, empty, ext4, gpt, populate, told
from hypothesis import given, settings
from hypothesis import strategies as st
from naos_commands import Commands
from simulated_platform import COMPUTE, Platform

from naos.engines.ports.files import FileEntry, FileEvent, Hole
from naos.engines.simulated.files import content_of
from naos.protection.files import archives

POINTS = "/backup/v1/spp/restore_points"


class Filled:
    """A platform with a restore point of machine `web`, whose disk has an ext4 partition and an encrypted one."""

    def __init__(self, platform: Platform, source: Path, wanted: Told, point: str) -> None:
        self.platform, self.source, self.wanted, self.point = platform, source, wanted, point
        self.url = f"{POINTS}/{point}/files"

    def download(self, path: str, form: str = "raw") -> bytes:
        body = {"volume": "0.1", "path": path, "format": form}
        answer = self.platform.client.post(f"{self.url}/download", json=body)
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.fixture(scope="module")
def filled(backed: Platform, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder = tmp_path_factory.mktemp("disk")
    (folder / "source").mkdir()
    wanted = populate(folder / "source")
    luks = empty(folder / "luks", MIB)
    luks.write_bytes(b"LUKS\xba\xbe\x00\x02" + bytes(MIB - 8))
    disk = gpt(folder / "gpt", [ext4(folder / "ext4", folder / "source", size=24 * MIB), luks])
    (found,) = backed.get(f"{COMPUTE}/virtual_disks", virtualMachineId=backed.made["web"])
    target = content_of(backed.folder / "world", found["id"])
    target.parent.mkdir()
    disk.rename(target)
    job = next(job for job in backed.get("/backup/v1/spp/jobs", type="protection"))
    backed.done("POST", "/backup/v1/spp/jobs/run", {"jobId": job["id"]})
    (point,) = backed.get(POINTS, virtualMachineId=backed.made["web"])
    return Filled(backed, folder / "source", wanted, point["id"])


def test_volumes_and_folders(filled: Filled) -> None:
    volumes = {volume["id"]: volume for volume in filled.platform.get(f"{POINTS}/{filled.point}/volumes")}
    assert (volumes["0.1"]["type"], volumes["0.1"]["readable"], volumes["0.1"]["label"]) == ("ext4", True, "built")
    assert (volumes["0.2"]["type"], volumes["0.2"]["readable"]) == ("luks", False)
    assert "encrypted" in volumes["0.2"]["problem"]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        asked = {"volume": "0.1", "path": "/many", "after": after, "limit": 150}
        page = filled.platform.client.get(filled.url, params=asked).json()
        seen += [entry["path"] for entry in page["files"]]
        after = page["next"]
    assert seen == sorted(path for path in filled.wanted if path.startswith("/many/"))
    root = {entry["name"]: entry for entry in filled.platform.get(filled.url, volume="0.1")["files"]}
    assert root["bad%FF%FEname"]["size"] == 7
    assert (root["absolute"]["type"], root["absolute"]["target"]) == ("link", "/etc/passwd")
    assert (root["pipe"]["type"], root["pipe"]["note"]) == ("other", "a named pipe")
    for volume, path, status in (
        ("0.2", "/", 422),
        ("0.9", "/", 404),
        ("0.1", "/nothing", 404),
        ("0.1", "/absolute/passwd", 422),
        ("0.1", "/../etc", 422),
        ("0.1", "/tiny", 422),
    ):
        answer = filled.platform.client.get(filled.url, params={"volume": volume, "path": path})
        assert answer.status_code == status, answer.text


def test_a_file_is_what_it_was_and_the_log_says_who_took_it(filled: Filled) -> None:
    for path in ("/random", "/etc/deep/er/été ☃.txt", "/bad%FF%FEname", "/two%0Alines", "/100%25", "/empty", "/sparse"):
        data = filled.download(path)
        assert ("file", len(data), hashlib.sha256(data).hexdigest()) == filled.wanted[path]
    for path in ("/absolute", "/pipe", "/etc"):
        body = {"volume": "0.1", "path": path}
        error = filled.platform.refused("POST", f"{filled.url}/download", body)
        assert error["code"] in ("protection.file_unreadable", "protection.folder_needs_archive")
    entries = filled.platform.get("/audit/v1/entries", limit=50)
    assert any(
        "files/download" in entry["path"] and "/random" in json.dumps(entry) and filled.point in entry["objects"]
        for entry in entries
    ), entries[:3]


def test_archives_of_a_folder(filled: Filled, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(filled.download("/", "tar"))) as archive:
        members = archive.getmembers()
        assert not any(member.name.startswith("/") or ".." in member.name.split("/") for member in members)
        assert b"pipe: it is a named pipe" in archive.extractfile("left-out.txt").read()
        archive.extractall(tmp_path / "tar")
    (tmp_path / "tar/left-out.txt").unlink()
    found = told(tmp_path / "tar")
    found.pop("/lost+found")
    assert found == {path: each for path, each in filled.wanted.items() if each != ("skipped",)}
    assert (tmp_path / "tar/etc/again").stat().st_ino == (tmp_path / "tar/etc/hosts").stat().st_ino
    with zipfile.ZipFile(io.BytesIO(filled.download("/etc", "zip"))) as archive:
        assert archive.testzip() is None
        inside = {f"/{name}": hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    files = {path: each[2] for path, each in filled.wanted.items() if path.startswith("/etc") and each[0] == "file"}
    assert {path: each for path, each in inside.items() if not path.endswith("/")} == files


def test_files_are_put_back_and_never_over_others(filled: Filled) -> None:
    machine = filled.platform.made["web"]
    guest = filled.platform.folder / "world/guests" / machine
    (guest / "srv/restored").mkdir(parents=True)
    body: dict[str, Any] = {
        "volume": "0.1",
        "virtualMachineId": machine,
        "folder": "/srv/restored",
        "path": "/etc/hosts",
    }
    url = f"{filled.url}/put_back"
    assert filled.platform.done("POST", url, body) == machine
    assert (guest / "srv/restored/hosts").read_text() == "127.0.0.1 localhost\n"
    assert (guest / "srv/restored/hosts").stat().st_mode & 0o777 == 0o640
    (guest / "srv/restored/hosts").write_text("mine")
    assert "not to be overwritten" in filled.platform.failed("POST", url, body)
    assert (guest / "srv/restored/hosts").read_text() == "mine"
    filled.platform.done("POST", url, body | {"overwrite": True})
    assert (guest / "srv/restored/hosts").read_text() == "127.0.0.1 localhost\n"
    filled.platform.done("POST", url, body | {"path": "/etc"})
    found = {f"/etc{path}": each for path, each in told(guest / "srv/restored/etc").items()}
    assert found == {path: each for path, each in filled.wanted.items() if path.startswith("/etc/")}
    assert "no folder" in filled.platform.failed("POST", url, body | {"folder": "/nowhere"})
    assert filled.platform.refused("POST", url, body | {"folder": "/srv/../etc"})["code"].endswith("folder_invalid")
    assert filled.platform.refused("POST", url, body | {"path": "/bad%FF%FEname"})["code"].endswith("unreadable")
    assert sorted(path.name for path in (guest / "srv/restored").iterdir()) == ["etc", "hosts"]


def test_commands(filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    run = Commands(filled.platform, "backup", "files").run
    assert "ext4" in run("volumes", "web")
    assert "été ☃.txt" in run("list", "web", "/etc/deep/er")
    assert len(run("list", "web", "/many", "--csv").splitlines()) >= 400
    run("get", "web", "/random")
    assert hashlib.sha256((tmp_path / "random").read_bytes()).hexdigest() == filled.wanted["/random"][2]
    assert "there already" in run("get", "web", "/random", code=1)
    run("get", "web", "/etc", "--format", "tar")
    assert tarfile.is_tarfile(tmp_path / "etc.tar")
    assert "folder" in run("get", "web", "/etc", "--output", "other", code=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["etc.tar", "random"]
    run("put-back", "web", "/tiny", "--vm", "web", "--folder", "/srv/restored")
    assert "no good restore point of nothing" in run("volumes", "nothing", code=1)


def test_other_tenants_and_other_rights_see_nothing(filled: Filled) -> None:
    stranger = filled.platform.stranger()
    for method, path, body in (
        ("GET", f"{POINTS}/{filled.point}/volumes", None),
        ("GET", f"{filled.url}?volume=0.1", None),
        ("POST", f"{filled.url}/download", {"volume": "0.1", "path": "/tiny"}),
        (
            "POST",
            f"{filled.url}/put_back",
            {"volume": "0.1", "path": "/tiny", "virtualMachineId": filled.platform.made["web"], "folder": "/"},
        ),
    ):
        assert stranger.request(method, path, json=body).status_code == 404


NAMES = st.sampled_from(
    ["a", "b", "..", ".", "", "a/b", "c\\d", "%2E%2E", "%2F", "%2Fetc", "x" * 300, "%FF", "..%2F..", "left-out.txt"]
)
ENTRIES = st.lists(
    st.tuples(st.lists(NAMES, min_size=1, max_size=3), st.sampled_from(["file", "folder", "link", "other", "skipped"])),
    max_size=12,
)


@given(ENTRIES)
@settings(max_examples=60, deadline=None)
def test_nothing_leads_out_of_an_archive(entries: list[tuple[list[str], str]]) -> None:
    """Whatever a reader says: names are relative, without steps upwards, and nothing is behind a link."""
    events: list[FileEvent] = []
    for parts, kind in entries:
        size = 700 if kind == "file" else 0
        target = "/etc" if kind == "link" else ""
        events.append(
            FileEntry("n", kind, path="/" + "/".join(parts), size=size, target=target, note="why", mode=0o644)
        )
        if kind == "file":
            events += [b"x" * 200, Hole(500)]
    with tarfile.open(fileobj=io.BytesIO(b"".join(archives.tar(iter(events), 0.0)))) as tar:
        links = [member.name for member in tar.getmembers() if member.issym()]
        for member in tar.getmembers():
            assert not member.name.startswith("/")
            assert not {"..", "."} & set(member.name.split("/"))
            assert not any(member.name.startswith(f"{link}/") for link in links)
            if member.isfile() and not member.name.endswith(archives.LEFT_OUT):
                assert tar.extractfile(member).read() == b"x" * 200 + bytes(500)
    with zipfile.ZipFile(io.BytesIO(b"".join(archives.zipped(iter(events), 0.0)))) as packed:
        for name in packed.namelist():
            assert not name.startswith("/")
            assert "\\" not in name
            assert not {"..", "."} & set(name.split("/"))
        assert packed.testzip() is None
