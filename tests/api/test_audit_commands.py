"""The commands `naos audit`, `naos tag` and `naos activity` against the API itself."""

import csv
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import uvicorn
from api_platform import Platform
from test_activities import change, put, served
from typer.testing import CliRunner, Result

from naos.api.serving import Server
from naos.audit.journal import entries_table
from naos.cli.activity import events
from naos.cli.client import Connection
from naos.cli.main import app

TOKENS = "/iam/v2/personal_access_tokens"


@pytest.fixture
def run(platform: Platform, tmp_path: Path) -> Any:
    """Runs a command; a result's `exit_code`, `stdout` and `stderr` are what a shell would see."""
    credentials = tmp_path / "credentials"
    credentials.write_text(f"{platform.first.token_id}:{platform.first.secret}\n", encoding="ascii")

    def command(*words: str, url: str | None = None) -> Result:
        transport = None if url else platform.anyone._transport
        connection = Connection(credentials=credentials, transport=transport)
        options = ["--url", url] if url else []
        return CliRunner().invoke(app, [*options, *words], obj=connection, env={"TZ": "UTC", "COLUMNS": "200"})

    return command


def test_the_log_is_listed_filtered_and_exported(platform: Platform, run: Any, tmp_path: Path) -> None:
    for name in ("a", "", "c"):
        platform.owner.post(TOKENS, json={"name": name, "roles": [], "expirationDate": 0})
    shown = run("audit", "list", "--path", TOKENS)
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) == 4
    assert "Ada" in shown.stdout
    assert run("audit", "list", "--outcome", "failed").stdout == ""
    assert len(json.loads(run("audit", "list", "--limit", "2", "--json").stdout)) == 2
    assert json.loads(run("audit", "list", "--since", "2999-01-01", "--json").stdout) == []
    assert run("audit", "list", "--since", "soon").exit_code == 2
    assert run("audit", "list", "--outcome", "good").exit_code == 2
    file = tmp_path / "audit.csv"
    assert run("audit", "export", "--outcome", "refused", "--output", str(file)).exit_code == 0
    with file.open(encoding="utf-8", newline="") as opened:
        assert [row["status"] for row in csv.DictReader(opened)] == ["422"] * 3
    assert len(json.loads(run("audit", "export", "--json").stdout)) >= 3
    assert run("audit", "export", "--output", str(tmp_path / "no" / "where")).exit_code == 1


def test_a_log_that_was_changed_is_named_and_ends_with_1(platform: Platform, run: Any, tmp_path: Path) -> None:
    platform.owner.post(TOKENS, json={"name": "a", "roles": [], "expirationDate": 0})
    offline = ("--database", platform.services.settings.database_url, "--keys", str(tmp_path / "keys"))
    for words in ((), offline):
        found = run("audit", "verify", *words)
        assert (found.exit_code, "is sound" in found.stderr) == (0, True), found.output
    with platform.services.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER audit_entries_no_update")
        connection.execute(sa.update(entries_table).where(entries_table.c.sequence == 2).values(user_name="Bob"))
    for words in ((), offline):
        found = run("audit", "verify", *words)
        assert (found.exit_code, "at entry 2" in found.stderr) == (1, True), found.output
    assert json.loads(run("audit", "verify", "--json").stdout)["bad"] == 2
    assert run("audit", "verify", "--keys", "x").exit_code == 2
    for url in (f"sqlite:///{tmp_path}/none.db", "nonsense://x"):
        found = run("audit", "verify", "--database", url, "--keys", str(tmp_path))
        assert (found.exit_code, found.stderr.startswith("Error: ")) == (1, True), found.output
        assert run("audit", "renew-key", "--yes", "--database", url, "--keys", str(tmp_path)).exit_code == 1
    assert not (tmp_path / "none.db").exists()


def test_a_lost_key_is_replaced(platform: Platform, run: Any, tmp_path: Path) -> None:
    (key,) = (tmp_path / "keys").glob("audit-*.key")
    key.unlink()
    places = ("--database", platform.services.settings.database_url, "--keys", str(tmp_path / "keys"))
    assert run("audit", "verify", *places).exit_code == 1
    renewed = run("audit", "renew-key", "--yes", *places)
    assert (renewed.exit_code, "Keep a copy" in renewed.stderr) == (0, True), renewed.output
    for words in ((), places):
        assert run("audit", "verify", *words).exit_code == 0


def test_activities_are_followed_until_the_rights_end(
    platform: Platform, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("naos.activity.watching.INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("naos.activity.routes.CHECK_SECONDS", 0.2)
    with served(platform) as url:
        activity = put(platform, 1, state="running", step="clone")

        def told(state: str) -> None:
            """Wait until all who watch were sent that state of the activity."""
            end = time.monotonic() + 30
            while time.monotonic() < end:
                watch = getattr(platform.app.state, "watch", None)
                known = watch._known.get(activity) if watch else None
                if known and known[0] == state and not any(one.pending for one in watch._watching):
                    return
                time.sleep(0.02)

        def story() -> None:
            told("running")
            change(platform, activity, state="failed", reason="no room")
            told("failed")
            platform.owner.delete(f"{TOKENS}/{platform.first.token_id}")

        thread = threading.Thread(target=story)
        thread.start()
        followed = run("activity", "follow", url=url)
        thread.join(30)
    print("XX", followed.exit_code, followed.stderr, repr(followed.exception))
    assert followed.stdout.splitlines() == ["Make machine m1: running: clone", "Make machine m1: failed: no room"]
    assert (followed.exit_code, "deleted" in followed.stderr) == (1, True)


def test_events_are_read_however_the_stream_is_cut() -> None:
    text = b': hello\nretry: 1\n\nid: 7\nevent: activity\ndata: {"a": "b: c"}\n\n: still\n\nevent: end\ndata: over\n\n'
    for size in (1, 3, 1000):
        parts = [text[at : at + size] for at in range(0, len(text), size)]
        found = [event for event in events(parts) if "data" in event]
        assert found == [
            {"id": "7", "event": "activity", "data": '{"a": "b: c"}'},
            {"event": "end", "data": "over"},
        ]


def test_a_stop_is_told_to_the_streams(platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)):
        made = Server(uvicorn.Config(platform.app, log_config=None))
        made.handle_exit(15, None)
    assert platform.app.state.stopping is True
    assert made.should_exit is True
