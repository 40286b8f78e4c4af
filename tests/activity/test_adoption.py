"""Two controllers on PostgreSQL: when one is killed, the other goes on with its work, and no step is done by both."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres_server import server

from naos.activity.models import Activity, State
from naos.database import Database

WORK = Path(__file__).with_name("adopted_work.py")


@pytest.fixture
def url() -> Iterator[str]:
    with server() as postgres:
        yield postgres.create("adoption")


@contextmanager
def controller(url: str, file: Path, *, submits: bool) -> Iterator["subprocess.Popen[str]"]:
    arguments = [sys.executable, str(WORK), url, str(file), "yes" if submits else "no"]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert "ready" in iter(process.stdout.readline, "").__next__()
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_killed_controllers_work_is_finished_by_the_other(url: str, tmp_path: Path) -> None:
    file = tmp_path / "steps"
    with controller(url, file, submits=True) as first, controller(url, file, submits=False) as second:
        first.send_signal(signal.SIGKILL)
        database = Database(url)
        end = time.monotonic() + 60
        while True:
            with database.read() as session:
                activity = session.scalars(sa.select(Activity)).one()
            if activity.state == State.COMPLETED or time.monotonic() > end:
                break
            time.sleep(0.1)
        database.close()
        assert activity.state == State.COMPLETED, activity.reason
        assert (activity.attempt, activity.deaths) == (2, 1)
        lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
        by_first = [int(number) for pid, number in lines if int(pid) == first.pid]
        by_second = [int(number) for pid, number in lines if int(pid) == second.pid]
        assert by_second[-1] == 39
        # Only the step in whose middle the first one died may have been done twice.
        assert len(set(by_first) & set(by_second)) <= 1
