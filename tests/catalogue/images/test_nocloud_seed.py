"""Seeds: what a guest reads in them, and which names and values go in."""

import json
import re
import subprocess
from io import BytesIO

import pycdlib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from naos.catalogue.images.errors import SeedRefused
from naos.catalogue.images.seed import LARGEST_TEXT, hostname_for, write_seed
from naos.catalogue.ovf import environment

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5ZlUq a tester"
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def read(path):
    """The seed's files by name, as Rock Ridge and as Joliet show them."""
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    assert iso.pvd.volume_identifier.strip() == b"CIDATA"
    views = []
    for view in ("rr_path", "joliet_path"):
        files = {}
        for child in iso.list_children(**{view: "/"}):
            if child.is_dir():
                continue
            name = (
                child.rock_ridge.name().decode() if view == "rr_path" else child.file_identifier().decode("utf-16-be")
            )
            content = BytesIO()
            iso.get_file_from_iso_fp(content, **{view: f"/{name}"})
            files[name] = content.getvalue()
        views.append(files)
    iso.close()
    assert views[0] == views[1]
    return views[0]


@pytest.fixture
def seeded(tmp_path):
    def written(**options):
        write_seed(tmp_path / "seed.iso", **{"instance_id": "i-1", "hostname": "one", **options})
        return read(tmp_path / "seed.iso")

    return written


def test_a_seed_holds_identity_keys_and_nothing_that_was_not_asked_for(seeded):
    files = seeded(ssh_keys=[KEY, f"{KEY}\n"])
    assert set(files) == {"meta-data", "user-data"}
    assert json.loads(files["meta-data"]) == {"instance-id": "i-1", "local-hostname": "one", "public-keys": [KEY, KEY]}
    assert files["user-data"] == b""


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\necho é\r\n",
        "#cloud-config\nruncmd:\n - [echo, x]\n",
        "#include\nhttp://x/\n",
        "Content-Type: multipart/mixed; boundary=x\n\n--x--",
        "## template: jinja\n#cloud-config\n{}",
    ],
)
def test_user_data_goes_in_byte_for_byte(seeded, text):
    files = seeded(user_data=text, ssh_keys=[KEY], password="secret")
    assert files["user-data"] == text.encode()


@pytest.mark.parametrize("text", ["runcmd: []", "echo hello", " #!/bin/sh", "#comment\n"])
def test_user_data_that_no_guest_would_run_is_refused(seeded, text):
    with pytest.raises(SeedRefused):
        seeded(user_data=text)


def test_addresses_become_a_network_configuration_by_mac_address(seeded):
    files = seeded(
        addresses=[
            {"mac": "52:54:00:00:00:0A", "address": "192.0.2.10/24", "gateway": "192.0.2.1"},
            {"mac": "52:54:00:00:00:0a", "address": "2001:db8::10/64", "gateway": "2001:db8::1"},
            {"mac": "52:54:00:00:00:0b", "address": "198.51.100.7/32", "gateway": "203.0.113.1"},
            {"mac": "52:54:00:00:00:0c", "address": None, "gateway": None},
        ]
    )
    assert json.loads(files["network-config"]) == {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": "52:54:00:00:00:0a"},
                "set-name": "eth0",
                "dhcp4": False,
                "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
                "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "::/0", "via": "2001:db8::1"}],
            },
            "eth1": {
                "match": {"macaddress": "52:54:00:00:00:0b"},
                "set-name": "eth1",
                "dhcp4": False,
                "addresses": ["198.51.100.7/32"],
                "routes": [{"to": "0.0.0.0/0", "via": "203.0.113.1", "on-link": True}],
            },
            "eth2": {"match": {"macaddress": "52:54:00:00:00:0c"}, "set-name": "eth2", "dhcp4": True},
        },
    }


def test_a_network_configuration_of_the_users_takes_the_place_of_addresses(seeded):
    text = "version: 2\nethernets: {}\n"
    files = seeded(network_config=text, addresses=[{"mac": "52:54:00:00:00:0a", "address": None, "gateway": None}])
    assert files["network-config"] == text.encode()


def test_a_password_goes_in_hashed(seeded):
    files = seeded(password="a 'word' with $ and é")
    head, _, body = files["vendor-data"].partition(b"\n")
    assert head == b"#cloud-config"
    hashed = json.loads(body)["password"]
    salt = hashed.split("$")[2]
    argv = ["openssl", "passwd", "-6", "-salt", salt, "a 'word' with $ and é"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip() == hashed
    assert b"word' with" not in b"".join(files.values())


def test_equal_seeds_are_equal_bytes_whenever_they_are_written(tmp_path, monkeypatch):
    import time

    options = {
        "instance_id": "i-1",
        "hostname": "one",
        "user_data": "#!/bin/sh\n",
        "password": "secret",
        "ssh_keys": [KEY],
    }
    write_seed(tmp_path / "first.iso", **options)
    later = time.time() + 86400 * 400
    monkeypatch.setattr(time, "time", lambda: later)
    write_seed(tmp_path / "second.iso", **options)
    assert (tmp_path / "first.iso").read_bytes() == (tmp_path / "second.iso").read_bytes()


def test_a_refused_seed_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "seed.iso"
    write_seed(path, instance_id="i-1", hostname="one")
    before = path.read_bytes()
    with pytest.raises(SeedRefused):
        write_seed(path, instance_id="i-1", hostname="")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "options",
    [
        {"instance_id": ""},
        {"instance_id": "a\nb"},
        {"hostname": "two words"},
        {"hostname": "-a"},
        {"hostname": "a" * 64},
        {"hostname": "a..b"},
        {"hostname": "one\n"},
        {"ssh_keys": ["not a key"]},
        {"ssh_keys": [f"{KEY}\nssh-ed25519 AAAA second"]},
        {"ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]},
        {"password": "two\nlines"},
        {"addresses": [{"mac": "52:54", "address": None, "gateway": None}]},
        {"addresses": [{"mac": "52:54:00:00:00:0a", "address": "192.0.2.10", "gateway": None}]},
        {"addresses": [{"mac": "52:54:00:00:00:0a", "address": "192.0.2.300/24", "gateway": None}]},
        {"addresses": [{"mac": "52:54:00:00:00:0a", "address": "192.0.2.10/24", "gateway": "fe80::1"}]},
        {"addresses": [{"mac": "52:54:00:00:00:0a", "address": "192.0.2.10/24", "gateway": "here"}]},
        {"user_data": "#!/bin/sh\n" + "x" * LARGEST_TEXT},
        {"network_config": "x" * (LARGEST_TEXT + 1)},
    ],
)
def test_what_no_guest_could_use_is_refused(seeded, options):
    with pytest.raises(SeedRefused):
        seeded(**options)


# ----------------------------------------------------------------------------------------------------------- host names


@given(st.text())
@example("")
@example("---")
@example("Сервер базы")
@example("a" * 200)
@example(("a" * 62) + "-b")
@example("İstanbul")
@example("\ud800")
def test_any_name_gives_a_host_name(name):
    assert LABEL.fullmatch(hostname_for(name))
    assert hostname_for(name) == hostname_for(name)


@given(st.from_regex(LABEL, fullmatch=True))
@example("0--0")
@example("a" * 63)
def test_a_host_name_stays_as_it_is(name):
    assert hostname_for(name) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Web Server 01", "web-server-01"), ("Zoë's été", "zoe-s-ete"), ("Straße", "strasse"), ("a_b.c", "a-b-c")],
)
def test_names_are_recognisable(name, expected):
    assert hostname_for(name) == expected


def test_names_in_other_scripts_stay_different():
    names = ["Сервер", "Сервис", "データ", "数据", "🚀"]
    assert len({hostname_for(name) for name in names}) == len(names)


def test_an_ovf_environment_lies_beside_cloud_inits_files(tmp_path):
    values = {"hostname": 'a "b" <c> & é', "licence": "L-1", "empty": ""}
    document = environment.document("id-1", values, [("02:00:00:00:00:01", "réseau")])
    target = tmp_path / "seed.iso"
    write_seed(target, instance_id="i", hostname="h", seedfrom="http://192.0.2.1/s/", environment=document)
    files = read(target)
    assert files["ovf-env.xml"] == document
    assert json.loads(files["meta-data"])["seedfrom"] == "http://192.0.2.1/s/"
    root = etree.fromstring(document)
    oe = f"{{{environment.ENVIRONMENT}}}"
    found = {entry.get(f"{oe}key"): entry.get(f"{oe}value") for entry in root.iter(f"{oe}Property")}
    assert found == values
    again = tmp_path / "again.iso"
    write_seed(again, instance_id="i", hostname="h", seedfrom="http://192.0.2.1/s/", environment=document)
    assert again.read_bytes() == target.read_bytes()
