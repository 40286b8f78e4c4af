"""What a tag's key may be, and which keys an address may mean."""

import pytest

from naos.tags import rules
from naos.tags.errors import KeyUnfit, ValueTooLong


@pytest.mark.parametrize(
    "key", ["a", "a b", "a/b//c/", "50%", "é漢🖥", "a?b=c&d", "x#y", "a" * 255, "%41", "..a", "'; drop", " a "]
)
def test_a_key_is_kept_as_it_came(key: str) -> None:
    assert rules.check_key(key) == key


@pytest.mark.parametrize("key", ["", " ", ".", "..", "a\nb", "a\x7f", "a" * 256])
def test_what_no_address_can_carry_is_no_key(key: str) -> None:
    with pytest.raises(KeyUnfit):
        rules.check_key(key)


def test_a_value_has_a_longest_length() -> None:
    assert rules.check_value("k", "v" * 4096)
    with pytest.raises(ValueTooLong, match="4097 characters"):
        rules.check_value("k", "v" * 4097)


@pytest.mark.parametrize(
    ("raw", "query", "wanted"),
    [
        (b"/tag/v1/tags/resources/x/keys/owner", b"", "owner"),
        (b"/t/keys/a/b", b"", "a/b"),
        (b"/t/keys/50%25", b"", "50%"),
        (b"/t/keys/%41", b"", "%41"),
        (b"/t/keys/a", b"b=%20c", "a?b= c"),
        (b"/t/keys/a", b"b=%20c", "a?b=%20c"),
        (b"/t/keys/a%3Fb", b"", "a?b"),
        (b"/t/keys/keys/k", b"", "keys/k"),
    ],
)
def test_an_address_means_its_key_escaped_or_not(raw: bytes, query: bytes, wanted: str) -> None:
    assert wanted in list(rules.named(raw, query))


def test_the_likeliest_key_comes_first_and_none_holds_what_no_table_can() -> None:
    assert next(rules.named(b"/t/keys/a%20b", b"")) == "a b"
    assert list(rules.named(b"/t/keys/a%00b", b"")) == ["a%00b"]
