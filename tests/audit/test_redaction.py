"""What the audit log keeps of a request: everything but secrets."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naos.audit import redaction
from naos.audit.redaction import HIDDEN, ids_in, is_secret, redacted, request_text

MARK = "m4rk"
SECRETS = [
    *("password", "Password", "adminPassword", "domain_admin_password", "secret", "secret_id", "clientSecret", "token"),
    *("refreshToken", "user-data", "userData", "guestinfo.userdata", "guestinfo.ignition.config.data", "credentials"),
    *(
        "public-keys",
        "sshKeys",
        "ssh_authorized_keys",
        "privateKey",
        "apiKey",
        "encryption_key",
        "cookie",
        "passphrase",
    ),
    *("code", "otp", "linkToken", "recoveryCodes", "cloudInit", "script", "meta-data", "nonce"),
]
PLAIN = [
    "name",
    "hotPlug",
    "option",
    "key_id_of_nothing",
    "tags",
    "description",
    "barcode",
    "encoding",
    "passage",
    "id",
]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_known_by_their_names(name: str) -> None:
    assert is_secret(name)
    assert MARK not in str(redacted({"a": [{name: MARK}, {name: {"deep": [MARK]}}, {name: [MARK]}]}))
    assert MARK not in str(redacted([{"id": name, "value": MARK}, {"Key": name, "Value": {"x": MARK}, "other": MARK}]))


@pytest.mark.parametrize("name", PLAIN)
def test_other_names_are_kept(name: str) -> None:
    assert redacted({name: "v"}) == {name: "v"}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"key": "owner", "value": "billing"}, {"key": "owner", "value": "billing"}),
        ({"key": "ssh-rsa AAAA"}, {"key": HIDDEN}),
        ({"password": None, "secret": ""}, {"password": None, "secret": HIDDEN}),
        ("https://user:pw@host:8080/a/b?sig=x#f", f"https://{HIDDEN}@host:8080/a/b?{HIDDEN}#f"),
        ("see http://host/a and s3://k:s@b/c", f"see http://host/a and s3://{HIDDEN}@b/c"),
        ("https://host/path", "https://host/path"),
        ("mail@example.org", "mail@example.org"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nabc", HIDDEN),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.x-y_z", HIDDEN),
        (list(range(150)), [*range(100), "(50 more)"]),
        ("x" * 600, "x" * 500 + "... (600 characters)"),
        (2**70, 2**70),
        (True, True),
    ],
)
def test_values_are_kept_without_what_is_secret_in_them(value: Any, kept: Any) -> None:
    assert redacted(value) == kept


def test_what_is_too_deep_or_too_much_is_left_out() -> None:
    deep: Any = "x"
    for _ in range(1000):
        deep = [deep]
    assert "(too deep)" in str(redacted(deep))
    text = request_text({}, {f"f{number}": "y" * 400 for number in range(100)})
    assert json.loads(text)["leftOut"].endswith(" characters")
    assert request_text({}, None) == "{}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    around=JSON,
    name=st.sampled_from(SECRETS),
    path=st.lists(st.sampled_from(["a", "b", "value", "key", "id"]), max_size=5),
)
def test_no_secret_is_kept_wherever_it_stands(around: Any, name: str, path: list[str]) -> None:
    body: Any = {name: MARK, "rest": around}
    for step in path:
        body = {step: body, "x": around}
    kept = request_text({"q": [MARK[:2]]}, body)
    assert MARK not in kept
    json.loads(kept)


def test_ids_are_found_wherever_they_stand() -> None:
    one, two = "5d0f8c0e-6f0e-4a53-9c3c-7b1d0f0a9a63", "6D0F8C0E-6F0E-4A53-9C3C-7B1D0F0A9A63"
    assert ids_in({"a": [one, {"b": two, "c": one}], "d": "x" * 36, "e": 5}) == [one, two.lower()]
    assert len(ids_in([f"00000000-0000-4000-8000-{number:012d}" for number in range(99)])) == redaction.MOST_OBJECTS
