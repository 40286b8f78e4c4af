"""`naos backup` and `naos policy terms` before the real API, on a simulated rack."""

import pytest
from naos_commands import Commands
from simulated_platform import COMPUTE, Platform


@pytest.fixture(scope="module")
def cli(backed: Platform) -> Commands:
    return Commands(backed)


def test_from_terms_to_a_restore(cli: Commands) -> None:
    changes = ("--cron", "15 1 * * sun", "--time-zone", "Europe/Paris", "--keep", "7/4/12/1", "--quiesce", "off")
    terms = cli.json("policy", "terms", "nightly", *changes, "--speed", "100MiB", "--window", "22:00-06:00")
    assert terms["keep"] == {"days": 7, "weeks": 4, "months": 12, "years": 1}
    assert (terms["timeZone"], terms["speed"], terms["window"]) == ("Europe/Paris", 100 * 2**20, "22:00-06:00")
    assert terms["nextRun"] is not None
    assert "7 days, 4 weeks, 12 months, 1 years" in cli.run("policy", "terms", "nightly")
    cli.run("policy", "terms", "nightly", "--keep", "7", code=2)
    assert "no rhythm" in cli.run("policy", "terms", "nightly", "--cron", "always", code=1)
    assert [row["name"] for row in cli.json("backup", "stale")] == ["data", "web"]
    assert {task["status"] for task in cli.json("backup", "run", "nightly")} == {"COMPLETED"}
    (run,) = cli.json("backup", "runs")
    assert len(cli.json("backup", "machines", run["id"])) == 2
    assert cli.json("backup", "stale") == []
    assert cli.json("backup", "unprotected") == []
    point = cli.json("backup", "show", "web")
    assert point["id"] == cli.json("backup", "list", "--vm", "web")[0]["id"]
    assert cli.json("backup", "verify", "web")["verifiedAt"] is not None
    assert "good" in cli.run("backup", "report", "--days", "2")
    assert len(cli.run("backup", "report", "--days", "2", "--csv").splitlines()) == 3
    made = cli.json(
        "backup", "restore", "web", "--mode", "clone", "--name", "twin", "--disk", point["disks"][0]["name"]
    )
    assert (made["name"], made["state"]) == ("twin", "done")
    cli.run("backup", "restore", "web", "--name", "trial")
    assert cli.json("backup", "convert", "trial")["state"] == "done"
    cli.run("backup", "restore", "web", "--name", "trial-2", "--start")
    assert cli.json("backup", "clean-up", "trial-2", "--yes")["state"] == "done"
    for name in ("twin", "trial"):
        cli.run("vm", "delete", name, "--yes")
    cli.run("vm", "stop", "web", "--force")
    for word in ("take-back", "confirm"):
        replaced = cli.json("backup", "restore", "web", "--mode", "production", "--yes")
        assert replaced["state"] == "replaced"
        assert cli.json("backup", word, "web", "--yes")["state"] == "done"
    cli.run("backup", "restore", "web", "--mode", "production", "--start", "--yes")
    cli.run("backup", "confirm", "web", "--yes")
    assert cli.platform.get(f"{COMPUTE}/virtual_machines", name="web")[0]["powerState"] == "running"
    assert len(cli.json("backup", "restores")) == 6
    assert "no restore of web" in cli.run("backup", "confirm", "web", "--yes", code=1)
    assert "last good one" in cli.run("backup", "delete", point["id"], "--yes", code=1)
    cli.run("backup", "delete", "web", "--force", "--yes")
    assert "no good restore point of web" in cli.run("backup", "show", "web", code=1)
    assert cli.json("backup", "quota", "--set", "1TiB")["size"] == 2**40
    assert cli.json("backup", "quota", "--none")["size"] is None
