"""How naos-tiny's scripts read a seed: run here with the same busybox that runs them in the guest."""

import json
import string
import subprocess
from importlib.resources import files

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

GUEST = files("naos.catalogue.images").joinpath("guest")
TEXT = st.text(
    alphabet=string.ascii_letters + string.digits + " _-.,:;#'\"\\/{}[]()<>|&*!%@`~?=+$^\n\té漢", max_size=12
)
KEYS = st.text(alphabet=string.ascii_letters + string.digits + "_-.", min_size=1, max_size=8)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        TEXT | st.integers(-9999, 9999),
        lambda inner: st.lists(inner, min_size=1, max_size=3) | st.dictionaries(KEYS, inner, min_size=1, max_size=3),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)


def awk(script, text, *options):
    argv = ["busybox", "awk", *options, "-f", str(GUEST / script)]
    return subprocess.run(argv, check=False, input=text.encode(), capture_output=True, timeout=30).stdout.decode()


def flatten(text):
    """The pairs of path and value, and the complaint under `!` if there is one."""
    pairs = {}
    for line in awk("yaml.awk", text).splitlines():
        path, _, value = line.partition("\t")
        pairs[path] = value.replace("\\\\", "\0").replace("\\n", "\n").replace("\\t", "\t").replace("\0", "\\")
    return pairs


def expected(value, path=""):
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {path: str(value)}
    pairs = {}
    for key, inner in items:
        pairs |= expected(inner, f"{path}/{key}" if path else str(key))
    return pairs


@settings(max_examples=80, deadline=None)
@given(DOCUMENTS, st.sampled_from([None, 1]))
@example({"a": "\\n", "b": ["\\", '"', "'"]}, None)
@example({"a": [[1, [2, "x: y"]], {"b": {"c": "- d"}}]}, 1)
def test_json_is_read_as_it_was_written(document, indent):
    assert flatten(json.dumps(document, indent=indent, ensure_ascii=False)) == expected(document)


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("a: 1\nb:\n  c: two words # and a remark\n  d: 'it''s'\n", {"a": 1, "b": {"c": "two words", "d": "it's"}}),
        ("a:\n- x\n- y: 1\n  z: 2\n- - p\n  - q\n", {"a": ["x", {"y": 1, "z": 2}, ["p", "q"]]}),
        ("#cloud-config\n---\na: [x, {b: c}, 'd, e']\n", {"a": ["x", {"b": "c"}, "d, e"]}),
        (
            "a: |\n  one\n    two\n\n  three\nb: >-\n  folded\n  text\n",
            {"a": "one\n  two\n\nthree\n", "b": "folded text"},
        ),
        ("a:\n  - [ls,\n     -l]\nb: http://host:80/x#y\n", {"a": [["ls", "-l"]], "b": "http://host:80/x#y"}),
        ("a: ~\nb: null\nc:\nd: ''\n", {"a": "", "b": "", "c": "", "d": ""}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
    ],
)
def test_yaml_as_people_write_it_is_read(text, document):
    assert flatten(text) == expected(document)


@pytest.mark.parametrize(
    "text", ["a: &x 1\nb: *x\n", "a: [1, 2\n", "a: 'open\n", "a: 1\n   b: 2\n", "\ta: 1\n", "word\nb: 1\n"]
)
def test_what_is_not_understood_is_complained_about(text):
    assert "!" in flatten(text)


def plan(config):
    return [tuple(line.split("\t")) for line in awk("network.awk", awk("yaml.awk", config)).splitlines()]


def test_version_2_becomes_a_plan():
    config = {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": "52:54:00:00:00:0A"},
                "mtu": 9000,
                "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
                "routes": [{"to": "0.0.0.0/0", "via": "192.0.2.1"}, {"to": "10.0.0.0/8", "via": "192.0.2.2"}],
                "nameservers": {"addresses": ["192.0.2.53"], "search": ["example.org"]},
            },
            "ens4": {"dhcp4": True},
        },
        "vlans": {"v": {"id": 5, "link": "eth0"}},
    }
    mac = "mac=52:54:00:00:00:0a"
    assert sorted(plan(json.dumps(config))) == sorted(
        [
            (mac, "mtu", "9000"),
            (mac, "address", "192.0.2.10/24"),
            (mac, "address", "2001:db8::10/64"),
            (mac, "gateway", "192.0.2.1"),
            (mac, "route", "10.0.0.0/8", "192.0.2.2"),
            ("-", "dns", "192.0.2.53"),
            ("-", "search", "example.org"),
            ("name=ens4", "dhcp", ""),
            ("-", "unsupported", "vlans"),
        ]
    )


def test_version_1_becomes_a_plan():
    config = """
version: 1
config:
  - type: physical
    name: eth0
    mac_address: '52:54:00:00:00:0a'
    subnets:
      - type: static
        address: 192.0.2.10
        netmask: 255.255.254.0
        gateway: 192.0.2.1
  - type: physical
    name: eth1
    subnets: [{type: dhcp}]
  - type: nameserver
    address: [192.0.2.53]
"""
    assert plan(config) == [
        ("mac=52:54:00:00:00:0a", "address", "192.0.2.10/23"),
        ("mac=52:54:00:00:00:0a", "gateway", "192.0.2.1"),
        ("name=eth1", "dhcp", ""),
        ("-", "dns", "192.0.2.53"),
    ]


def test_runcmd_becomes_a_script_whose_words_stay_whole():
    commands = ["echo $((1 + 2))", ["printf", "%s|", "two words", "it's", "$HOME", "a\nb", "back\\slash"], "echo last"]
    script = awk("runcmd.awk", awk("yaml.awk", json.dumps({"runcmd": commands})), "-F", "\t")
    done = subprocess.run(["busybox", "sh"], input=script, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "3\ntwo words|it's|$HOME|a\nb|back\\slash|last\n"


@pytest.mark.parametrize("name", sorted(item.name for item in GUEST.iterdir() if not item.name.endswith(".awk")))
def test_every_script_is_shell_that_parses(name):
    if name == "inittab":
        pytest.skip("a table of init's")
    subprocess.run(["busybox", "sh", "-n", str(GUEST / name)], check=True, timeout=30)
