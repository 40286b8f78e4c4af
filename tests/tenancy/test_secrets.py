"""Secrets that people are given."""

import secrets

import pytest

from naos.ids import new_secret


def test_no_command_line_takes_one_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-Km", "-x", "Km-"])
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: next(drawn))
    assert new_secret() == "Km-"
