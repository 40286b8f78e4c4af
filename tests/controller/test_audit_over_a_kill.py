"""A write that was accepted is in the audit log, even when its controller is killed before it answers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from simulated_platform import COMPUTE, platform_in

from naos.activity import Engine
from naos.audit.verification import verify

POOL = {"name": "pool", "datacenterId": "AZ05", "model": "LAB v1", "hosts": 1}


def killed(folder: Path) -> None:
    """A controller that is killed when it has committed an activity, before anybody is told."""

    def kill(kind: str, step: str, _moment: str) -> None:
        if (kind, step) == ("cpool.create", "submit"):
            os.kill(os.getpid(), signal.SIGKILL)

    with platform_in(folder, make_engine=lambda database, world: Engine(database, world, boundary=kill)) as platform:
        platform.client.post(f"{COMPUTE}/host_clusters", json=POOL)


def test_an_accepted_write_is_recorded_over_a_kill(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    code = "import sys, pathlib, test_audit_over_a_kill as t; t.killed(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    ended = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": paths}, check=False, capture_output=True, timeout=120
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    with platform_in(tmp_path) as platform:
        (entry,) = platform.get("/audit/v1/entries", outcome="begun")
        assert (entry["method"], entry["path"]) == ("POST", f"{COMPUTE}/host_clusters")
        assert entry["request"]["body"]["name"] == "pool"
        assert [activity["description"] for activity in platform.get("/activity/v1/activities")] != []
        assert platform.get("/audit/v1/verification")["sound"] is True
        database = platform.services.database
        assert verify(database, platform.services.settings.home / "keys").sound
