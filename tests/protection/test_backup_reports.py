"""Reports as files, whose the quota is, what becomes of disks of encrypted volumes, boot tests that cannot begin; guests whose agents
hang, and names that other backups fell over."""

import base64
import os
import time
import unicodedata
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from naos_commands import Commands
from simulated_platform import COMPUTE, GIB, Platform

from naos.engines.errors import EngineError, GuestRefused
from naos.protection.backup import report_pdf
from naos.protection.backup.models import RestorePoint
from naos.protection.backup.reports import Row
from naos.protection.backup.scheduler import Scheduler

BACKUP = "/backup/v1/spp"
POINTS = f"{BACKUP}/restore_points"


@pytest.fixture(scope="module")
def ran(backed: Platform) -> Platform:
    """Both machines were copied once."""
    _run(backed)
    return backed


def _job(platform: Platform) -> dict[str, Any]:
    """The policy's."""
    found: dict[str, Any] = next(
        entry for entry in platform.get(f"{BACKUP}/jobs") if entry["policyId"] == platform.made["nightly"]
    )
    return found


def _run(platform: Platform, *machines: str) -> dict[str, Any]:
    """Run the policy; its session."""
    job = _job(platform)["id"]
    body = {"jobId": job} | ({"virtualMachineIds": list(machines)} if machines else {})
    platform.done("POST", f"{BACKUP}/jobs/run", body)
    found: dict[str, Any] = next(entry for entry in platform.get(f"{BACKUP}/jobs/session") if entry["jobId"] == job)
    return found


def test_the_matrix_of_one_machine_and_as_files(ran: Platform) -> None:
    path, web = f"{BACKUP}/reports/matrix", ran.made["web"]
    (row,) = ran.get(path, virtualMachineId=web, policyId=ran.made["nightly"], days=2)["machines"]
    assert (row["name"], row["days"][-1]) == ("web", "good")
    assert ran.refused("GET", f"{path}?virtualMachineId={ran.made['nightly']}")["status"] == 404
    answer = ran.client.get(f"{path}.pdf", params={"days": 40, "policyId": ran.made["nightly"]})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.content.startswith(b"%PDF-")
    assert ran.client.get(f"{path}.csv", params={"virtualMachineId": web}).text.count("\n") == 2


def test_a_pdf_says_every_name_of_the_world() -> None:
    """What its font lacks is written as a number: an empty box could be any machine."""
    _, known = report_pdf._font()
    assert report_pdf.legible("web Ünï", known) == "web Ünï"
    assert report_pdf.legible("web \U0001f680", known).startswith("web ")
    assert report_pdf.legible("\ue000", known) == "[U+E000]"
    names = ("web", "数据库", "<b>&'\"", "x" * 255, "עברית", "-rf", "%s{}", "e\u0301" * 100)
    days = [(date(2026, 1, 1) + timedelta(days=number)).isoformat() for number in range(40)]
    rows = [Row("00000000-0000", name, ["good", "damaged", "failed", "skipped", ""] * 8) for name in names]
    made = report_pdf.matrix("Backups of <everybody>", days, rows, datetime.now(UTC))
    assert made.count(b"/Type /Page\n") >= 2 or made.count(b"/Type /Page ") >= 2


def test_the_quota_is_the_operators(ran: Platform) -> None:
    other: TestClient = ran.stranger("elsewhere")
    error = ran.refused("PUT", f"{BACKUP}/quota", {"size": None}, client=other)
    assert (error["status"], error["code"]) == (403, "fleet.operators_only")
    theirs = other.get("/iam/v2/tenants").json()[0]["id"]
    ran.done("PUT", f"{BACKUP}/quota?tenantId={theirs}", {"size": GIB})
    assert other.get(f"{BACKUP}/quota").json()["size"] == GIB
    assert ran.get(f"{BACKUP}/quota")["size"] is None
    assert ran.refused("PUT", f"{BACKUP}/quota?tenantId={ran.made['web']}", {"size": 1})["status"] == 404
    ran.done("PUT", f"{BACKUP}/quota?tenantId={theirs}", {"size": None})


def test_a_disk_of_an_encrypted_volume_is_not_kept_in_clear_unless_allowed(ran: Platform) -> None:
    (ran.folder / "volume-keys").write_text(base64.b64encode(os.urandom(32)).decode() + "\n", encoding="ascii")
    volume = {"name": "sealed", "datacenterId": "AZ05", "storageClass": "standard", "capacity": 500 * GIB}
    sealed = ran.done("POST", f"{COMPUTE}/datastores", {**volume, "encrypted": True})
    vault = ran.deploy("secret", datastoreId=sealed, powerOn=False)
    assign = {"virtualMachineIds": [vault], "slaPolicies": [ran.made["nightly"]]}
    ran.done("POST", f"{BACKUP}/policies/assign/virtual_machine", assign)
    session = _run(ran, vault)
    (task,) = ran.get(f"{BACKUP}/jobs/session/{session['id']}/virtual_machines")
    assert task["status"] == "FAILED"
    assert "lies there in clear" in task["reason"]
    assert ran.get(POINTS, virtualMachineId=vault) == []
    by = ran.folder / "world/hosts/az07-vault/encrypted-by"
    by.parent.mkdir(exist_ok=True)
    by.write_text("dm-crypt\n", encoding="ascii")
    assert _run(ran, vault)["status"] == "COMPLETED"
    (point,) = ran.get(POINTS, virtualMachineId=vault)
    assert "encrypted on its volume, by the vault's host here (dm-crypt)" in point["note"]
    by.unlink()
    terms = f"{BACKUP}/policies/{ran.made['nightly']}/terms"
    assert ran.get(terms)["inClear"] is False
    ran.done("PATCH", terms, {"inClear": True})
    assert _run(ran, vault)["status"] == "COMPLETED"
    point = _newest(ran, vault)
    assert "encrypted on its volume, in clear here" in point["note"]
    made = ran.done("POST", f"{POINTS}/{point['id']}/instant_start", {"mode": "test"})
    (disk,) = ran.get(f"{COMPUTE}/virtual_disks", virtualMachineId=made)
    assert disk["datastore"]["id"] == sealed, "it runs from the vault, and what it writes is encrypted"
    assert _job(ran)["status"] == "RESOURCE ACTIVE"
    restore = next(row["id"] for row in ran.get(f"{BACKUP}/restores") if row["virtualMachineId"] == made)
    ran.done("POST", f"{BACKUP}/restores/{restore}/clean_up")
    end = time.monotonic() + 20
    while _job(ran)["status"] != "IDLE":  # the vault is let go by whoever looks after it
        assert time.monotonic() < end
        time.sleep(0.05)
    ran.done("PATCH", terms, {"inClear": False})
    assert _run(ran, ran.made["web"])["status"] == "COMPLETED", "others go on"


def _newest(platform: Platform, machine_id: str) -> dict[str, Any]:
    found: dict[str, Any] = platform.get(POINTS, virtualMachineId=machine_id)[0]
    return found


@pytest.mark.parametrize("late", [False, True])
def test_a_freeze_that_never_answers_makes_a_point_as_after_a_loss_of_power(ran: Platform, late: bool) -> None:
    """Whether or not the guest did freeze in the end, it runs on afterwards."""
    web = ran.made["web"]
    ran.rack.faults.fail_next(
        "hypervisor.freeze", GuestRefused("az05-blade1", "freeze", "no answer in 10 s"), late=late
    )
    assert _run(ran, web)["status"] == "COMPLETED"
    point = _newest(ran, web)
    assert point["consistency"] == "crash"
    assert "no answer in 10 s" in point["note"]
    ran.done("PATCH", f"{BACKUP}/policies/{ran.made['nightly']}/terms", {"quiesce": "required"})
    before = len(ran.get(POINTS, virtualMachineId=web))
    ran.rack.faults.fail_next("hypervisor.freeze", GuestRefused("az05-blade1", "freeze", "no answer in 10 s"))
    assert _run(ran, web)["status"] == "FAILED"
    assert len(ran.get(POINTS, virtualMachineId=web)) == before
    ran.done("PATCH", f"{BACKUP}/policies/{ran.made['nightly']}/terms", {"quiesce": "auto"})
    assert ran.settled() == []


def test_a_guest_that_was_thawed_too_early_is_not_called_at_rest(ran: Platform) -> None:
    """Windows holds still for ten seconds; whoever thawed it, the point says so."""
    web = ran.made["web"]
    ran.rack.faults.fail_next("hypervisor.thaw", GuestRefused("az05-blade1", "thaw", "it was thawed before"))
    assert _run(ran, web)["status"] == "COMPLETED"
    point = _newest(ran, web)
    assert (point["consistency"], "quiesce_timeout" in point["note"]) == ("crash", True)


NAMES = (
    "Ünïcödé 数据库 שרת 🚀 👩‍👩‍👧 é",
    "a/b\\c 'it is' \"quoted\"; $(x) `y` %s",
    "-rf",
    "x" * 255,
)


def test_machines_of_any_name_are_copied_reported_and_restored(ran: Platform) -> None:
    """Paths and ids in vaults are made of ids alone."""
    web, found = ran.made["web"], []
    for name in NAMES:
        ran.done("PATCH", f"{COMPUTE}/virtual_machines/rename", {"id": web, "name": name})
        assert _run(ran, web)["status"] == "COMPLETED"
        found.append(_newest(ran, web)["name"])
    assert found == [unicodedata.normalize("NFC", name) for name in NAMES]
    body = {"mode": "clone"}
    made = ran.done("POST", f"{POINTS}/{_newest(ran, web)['id']}/restore", body)
    assert len(ran.machine(made)["name"]) <= 255
    ran.done("DELETE", f"{COMPUTE}/virtual_machines/{made}")
    for kind in ("csv", "pdf"):
        assert ran.client.get(f"{BACKUP}/reports/matrix.{kind}").status_code == 200
    ran.done("PATCH", f"{COMPUTE}/virtual_machines/rename", {"id": web, "name": "=1+1"})
    _run(ran, web)
    assert "\n'=1+1," in ran.client.get(f"{BACKUP}/reports/matrix.csv").text, "no formula to a spreadsheet"
    ran.done("PATCH", f"{COMPUTE}/virtual_machines/rename", {"id": web, "name": "web"})


@pytest.fixture
def scheduler(ran: Platform) -> Iterator[Scheduler]:
    """Boot tests are due for every machine."""
    with ran.services.database.write() as session:
        session.execute(sa.update(RestorePoint).values(booted_at=None, boot_note=""))
    ran.done("PATCH", f"{BACKUP}/policies/{ran.made['nightly']}/terms", {"bootDays": 1})
    engine: Any = ran.services.engine
    yield Scheduler(ran.services.world, engine)
    ran.done("PATCH", f"{BACKUP}/policies/{ran.made['nightly']}/terms", {"bootDays": 0})


def test_a_boot_test_that_fails_keeps_no_other_from_its_turn(ran: Platform, scheduler: Scheduler) -> None:
    """Whatever the reason: it is noted with the point, and tried again when it is due again."""
    ran.rack.faults.fail_next("array.fill_disk", EngineError("az05-array", "filling", "no room"))
    for _ in range(6):
        scheduler.sweep()
        assert ran.settled() == []
    notes = {point["virtualMachineId"]: point["bootNote"] for point in ran.get(POINTS) if point["bootNote"]}
    assert set(notes) >= {ran.made["web"], ran.made["data"]}
    failed = [note for note in notes.values() if not note.startswith("alive")]
    assert len(failed) == 1
    assert failed[0].startswith("failed: it could not be restored")


def test_commands_of_notices_and_reports(ran: Platform, tmp_path: Any) -> None:
    cli = Commands(ran)
    target = tmp_path / "matrix.pdf"
    cli.run("backup", "report", "--days", "3", "--pdf", str(target))
    assert target.read_bytes().startswith(b"%PDF-")
    assert [row["name"] for row in cli.json("backup", "report", "--vm", "web")["machines"]] == ["web"]
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n", encoding="ascii")
    made = cli.json(
        "notice", "add-webhook", "pager", "https://a.org/in", "--secret-file", str(key), "--event", "digest"
    )
    assert made["events"] == ["digest"]
    mail = ("--server", "mail.example.org", "--user", "naos", "--password-file", str(key))
    cli.run("notice", "add-mail", "team", "ops@example.org", *mail, "--sender", "naos@example.org")
    shown = cli.run("notice", "list")
    assert "ops@example.org at mail.example.org:587 (starttls)" in shown
    assert "0123456789abcdef" not in shown
    changed = cli.json("notice", "change", "pager", "--disable", "--digest-at", "08:30", "--time-zone", "Europe/Paris")
    assert (changed["enabled"], changed["digestAt"], changed["timeZone"]) == (False, "08:30", "Europe/Paris")
    key.write_text("fedcba9876543210\n", encoding="ascii")
    moved = cli.json("notice", "change", "pager", "--to", "https://b.org/in", "--secret-file", str(key))
    assert moved["webhook"] == {"url": "https://b.org/in"}
    cli.run("notice", "change", "pager", "--to", "https://b.org", "--to", "https://c.org", code=2)
    moved = cli.json("notice", "change", "team", "--to", "a@example.org", "--to", "b@example.org")
    assert (moved["mail"]["recipients"], moved["mail"]["user"]) == (["a@example.org", "b@example.org"], "naos")
    assert cli.json("notice", "sent", "--target", "pager") == []
    cli.run("notice", "delete", "pager", "--yes")
    cli.run("notice", "delete", "team", "--yes")
    assert cli.json("notice", "list") == []
    cli.run("backup", "quota", "--tenant", "x", code=2)
    terms = cli.json("policy", "terms", "nightly", "--encrypted", "clear")
    assert terms["inClear"] is True
