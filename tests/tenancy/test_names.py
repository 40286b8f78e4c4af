"""Names that people give (naos.names)."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from naos.names import NameCharacter, NameEmpty, NameTooLong, clean_name


@pytest.mark.parametrize(
    "name", ["../x", "a;b", "-rf", "$(reboot)", "%s", "None", "naïve", "名前", "👩‍💻", "x" * 255, "a'b\"c"]
)
def test_odd_names_are_names(name: str) -> None:
    assert clean_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("raw", "kept"), [("  web  ", "web"), ("e\u0301", "\u00e9"), ("a  b", "a  b"), ("\u3000\u540d", "\u540d")]
)
def test_names_are_trimmed_and_composed(raw: str, kept: str) -> None:
    assert clean_name(raw) == kept


@pytest.mark.parametrize("raw", ["", " ", "\t\n", "\u200b", "\u200b \u2060", "\ue000"])
def test_a_name_needs_something_to_see(raw: str) -> None:
    with pytest.raises(NameEmpty):
        clean_name(raw)


@pytest.mark.parametrize(
    ("raw", "character", "position"),
    [("a\x00b", "U+0000", 2), ("\x1b[31m", "U+001B", 1), ("ab\u202e", "U+202E", 3), ("\ud800", "U+D800", 1)],
)
def test_characters_that_deceive_are_named_with_their_place(raw: str, character: str, position: int) -> None:
    with pytest.raises(NameCharacter) as refusal:
        clean_name(raw)
    assert (refusal.value.character, refusal.value.position) == (character, position)


def test_the_refusal_of_a_long_name_gives_the_numbers() -> None:
    with pytest.raises(NameTooLong, match="has 300 characters and may have at most 255; shorten it by 45"):
        clean_name("x" * 300)
    assert clean_name("x" * 64, maximum=64) == "x" * 64
    with pytest.raises(NameTooLong):
        clean_name("x" * 65, maximum=64)


def test_length_is_counted_after_composition() -> None:
    assert len(clean_name("e\u0301" * 255)) == 255


@given(st.text(alphabet=st.characters(), max_size=300))
@example("\u0958" * 200)  # one character that NFC makes two of
@example("\u2000\u0301a")
def test_a_clean_name_is_stable_and_short_or_refused(raw: str) -> None:
    try:
        name = clean_name(raw)
    except (NameEmpty, NameTooLong, NameCharacter) as refusal:
        str(refusal).encode()
        return
    assert 1 <= len(name) <= 255
    assert clean_name(name) == name
    assert name == name.strip() == unicodedata.normalize("NFC", name)
    name.encode()
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name)
