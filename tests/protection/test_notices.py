"""Notices before the real API: mail and signed requests to servers on this machine, what is refused, what is never shown."""

import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi.testclient import TestClient
from simulated_platform import Platform

from naos.addresses import parse_network
from naos.database import Base
from naos.engines.errors import EngineError
from naos.protection.backup import quotas, runs
from naos.protection.backup.models import BackupPlan, BackupQuota, BackupTask, PolicyRun, RestorePoint
from naos.protection.backup.scheduler import Scheduler
from naos.protection.models import BackupRun
from naos.protection.notices import digest, places, rules, sending
from naos.protection.notices.models import Notice, NoticeTarget
from naos.protection.notices.postman import Postman

BACKUP = "/backup/v1/spp"
TARGETS, NOTICES = f"{BACKUP}/notice_targets", f"{BACKUP}/notices"
SECRET = "a key of many letters"
PASSWORD = "the mail server's password"


class Hook:
    """A web server that keeps what it is sent. `answers`: status codes to come; then 204."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.seen.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.answers.pop(0) if hook.answers else 204)
                self.send_header("Location", "http://169.254.169.254/")
                self.end_headers()

            def log_message(self, *_words: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()


class Mailbox:
    """What a mail server keeps."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(  # noqa: N802 - the library's way
        self, _server: Any, _session: Any, envelope: Any
    ) -> str:
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 kept"

    def admit(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == PASSWORD.encode())


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def certificate(backed: Platform) -> ssl.SSLContext:
    """Of a server named localhost, by an authority that the platform trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted: Path = backed.folder / "notice-authorities"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    held = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (backed.folder / "mail-key").write_bytes(held)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, backed.folder / "mail-key")
    return context


@contextmanager
def mail_server(box: Mailbox, **settings: Any) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port, **settings)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def _add(platform: Platform, **body: Any) -> dict[str, Any]:
    answer = platform.client.post(TARGETS, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def webhook(backed: Platform, hook: Hook) -> Iterator[dict[str, Any]]:
    """A target that is told of everything."""
    url = f"http://127.0.0.1:{hook.port}/in?who=naos"
    events = [event.value for event in rules.Event]
    made = _add(backed, name="pager", webhook={"url": url, "secret": SECRET}, events=events)
    yield made
    assert backed.client.delete(f"{TARGETS}/{made['id']}").status_code == 204


def _postman(platform: Platform, clock: datetime | None = None) -> Postman:
    engine: Any = platform.services.engine
    return Postman(platform.services.world, engine, clock=lambda: clock or datetime.now(UTC))


def _delivered(platform: Platform, target: dict[str, Any]) -> list[dict[str, Any]]:
    """What was written for a target, once nothing of it waits."""
    for _ in range(200):
        found: list[dict[str, Any]] = platform.get(NOTICES, targetId=target["id"])
        waiting = [notice for notice in found if notice["state"] == "waiting" and not notice["attempts"]]
        if not waiting:
            return found
        threading.Event().wait(0.05)
    raise AssertionError(found)


def _run(platform: Platform) -> None:
    job = next(j["id"] for j in platform.get(f"{BACKUP}/jobs") if j["policyId"] == platform.made["nightly"])
    platform.done("POST", f"{BACKUP}/jobs/run", {"jobId": job})


def test_what_happens_is_told_with_a_signature(backed: Platform, hook: Hook, webhook: dict[str, Any]) -> None:
    _run(backed)
    (told,) = _delivered(backed, webhook)
    assert (told["event"], told["state"], told["attempts"]) == ("run_completed", "delivered", 1)
    (headers, body) = hook.seen[0]
    moment, mark = (part.split("=")[1] for part in headers["X-Naos-Signature"].split(","))
    assert hmac.new(SECRET.encode(), moment.encode() + b"." + body, hashlib.sha256).hexdigest() == mark
    said = json.loads(body)
    assert (said["event"], said["details"]["copied"], said["id"]) == ("run_completed", 2, headers["X-Naos-Notice"])

    backed.rack.faults.fail_next("array.begin_point", EngineError("az05-array", "a copy", "it fell over"))
    job = next(j["id"] for j in backed.get(f"{BACKUP}/jobs") if j["policyId"] == backed.made["nightly"])
    backed.done("POST", f"{BACKUP}/jobs/run", {"jobId": job})
    newest = _delivered(backed, webhook)[0]
    assert newest["event"] == "run_failed"
    assert "it fell over" in newest["text"]


def test_an_alarm_of_the_quota_is_told(backed: Platform, webhook: dict[str, Any]) -> None:
    tenant_id = backed.get("/iam/v2/tenants")[0]["id"]
    with backed.services.database.write() as session:
        session.execute(sa.update(RestorePoint).values(stored=2**30))
        session.add(BackupQuota(tenant_id=tenant_id, size=2**30, alarm=""))
        quotas.watch(session, tenant_id, datetime.now(UTC))
    (told,) = _delivered(backed, webhook)
    assert told["event"] == "quota"
    with backed.services.database.write() as session:
        session.execute(sa.delete(BackupQuota))


def test_a_server_that_refuses_is_asked_again_and_given_up(
    backed: Platform, hook: Hook, webhook: dict[str, Any]
) -> None:
    hook.answers = [500, 302] + [503] * 20
    made = backed.client.post(f"{TARGETS}/{webhook['id']}/test").json()
    (told,) = _delivered(backed, webhook)
    assert (told["id"], told["state"], told["attempts"]) == (made["id"], "waiting", 1)
    assert "500" in told["reason"]
    now = datetime.now(UTC)
    for _ in range(12):
        now += timedelta(hours=13)
        _postman(backed, now).deliver()
    told = backed.get(f"{NOTICES}/{made['id']}")
    assert (told["state"], told["attempts"], told["nextAt"]) == ("given_up", len(rules.PAUSES) + 1, None)
    assert len(hook.seen) == told["attempts"], "no redirection was followed"
    assert backed.get(f"{TARGETS}/{webhook['id']}")["failures"] == 1


def test_a_digest_says_what_went_wrong_once_a_day(backed: Platform, webhook: dict[str, Any]) -> None:
    """At a time of the day that is half a day away from now: the controller's own postman has none to write meanwhile."""
    now = datetime.now(UTC)
    at = (now + timedelta(hours=12)).strftime("%H:%M")
    assert backed.client.patch(f"{TARGETS}/{webhook['id']}", json={"digestAt": at}).status_code == 200
    with backed.services.database.write() as session:
        session.get_one(NoticeTarget, webhook["id"]).digest_until -= timedelta(hours=1)
    for later in (13, 13, 12.9):
        _postman(backed, now + timedelta(hours=later)).write_digests()
    digests = [notice for notice in _delivered(backed, webhook) if notice["event"] == "digest"]
    assert len(digests) == 1
    assert digests[0]["details"]["counts"]["failed"] == 1
    assert "it fell over" in digests[0]["text"]


def test_a_run_that_is_still_going_when_the_next_is_due_is_told_of_once(
    backed: Platform, webhook: dict[str, Any]
) -> None:
    policy_id, database = backed.made["nightly"], backed.services.database
    job = next(j for j in backed.get(f"{BACKUP}/jobs") if j["policyId"] == policy_id)
    tenant_id, now = backed.get("/iam/v2/tenants")[0]["id"], datetime.now(UTC)
    with database.write() as session:
        session.get_one(BackupPlan, policy_id).handled_until = now
        words = {"tenant_id": tenant_id, "job_number": int(job["id"]), "status": "RUNNING", "total": 1}
        run = BackupRun(activity_id="a run that takes days", started_at=now, **words)
        session.add(run)
        session.flush()
        session.add(PolicyRun(run_number=run.number, policy_id=policy_id))
        task = {"machine_id": backed.made["web"], "tenant_id": tenant_id, "name": "web", "status": "RUNNING"}
        session.add(BackupTask(run_number=run.number, **task))
    engine: Any = backed.services.engine
    for _ in range(2):
        Scheduler(backed.services.world, engine, clock=lambda: now + timedelta(days=1)).look()
    with database.write() as session:
        for days in (2, 4):
            assert runs.plan_due(session, policy_id, now + timedelta(days=days)) is None
        session.get_one(BackupPlan, policy_id).handled_until = now + timedelta(days=1)
    (told,) = _delivered(backed, webhook)
    assert (told["event"], told["details"]["run"], told["details"]["machines"]) == ("run_overran", run.number, 1)
    assert "It is at web." in told["text"]
    shown = next(entry for entry in backed.get(f"{BACKUP}/jobs/session") if entry["id"] == str(run.number))
    assert shown["overruns"] == 4
    assert next(j for j in backed.get(f"{BACKUP}/jobs") if j["id"] == job["id"])["overruns"] == job["overruns"] + 4
    with database.write() as session:
        found = digest.of(session, tenant_id, now - timedelta(minutes=1), now + timedelta(days=1))
        assert found.counts["overran"] == 1
        for row in (session.get(PolicyRun, run.number), session.get(BackupTask, (run.number, backed.made["web"]))):
            session.delete(row)
        session.flush()
        session.delete(session.get_one(BackupRun, run.number))
        session.get_one(BackupPlan, policy_id).handled_until = datetime.now(UTC)


def test_mail_under_tls_with_a_password(backed: Platform, certificate: ssl.SSLContext) -> None:
    box = Mailbox()
    secured = {"tls_context": certificate, "require_starttls": True, "authenticator": box.admit, "auth_required": True}
    with mail_server(box, **secured) as port:
        mail = {"server": "localhost", "port": port, "user": "naos", "sender": "naos@example.org"}
        body = {**mail, "password": PASSWORD, "recipients": ["ops@example.org", "böse@example.org"]}
        refused = backed.client.post(TARGETS, json={"name": "x", "mail": {**body, "security": "none"}}).json()
        assert refused["error"]["code"] == "protection.notice_password_in_clear"
        body["recipients"] = ["ops@example.org", "second@example.org"]
        made = _add(backed, name="team", mail=body)
        assert PASSWORD not in json.dumps(backed.get(TARGETS))
        backed.client.post(f"{TARGETS}/{made['id']}/test")
        (told,) = _delivered(backed, made)
        assert told["state"] == "delivered", told["reason"]
        assert box.logins == [(b"naos", PASSWORD.encode())]
        ((recipients, text),) = box.mails
        assert recipients == body["recipients"]
        assert "Subject: [naos] Test of backup notices" in text

        moved = {**mail, "server": "elsewhere.example.org", "recipients": ["ops@example.org"]}
        error = backed.refused("PATCH", f"{TARGETS}/{made['id']}", {"mail": moved})
        assert error["code"] == "protection.notice_password_missing", "the password is not sent to another server"
        same = {**mail, "recipients": ["other@example.org"]}
        assert backed.client.patch(f"{TARGETS}/{made['id']}", json={"mail": same}).status_code == 200
        backed.client.post(f"{TARGETS}/{made['id']}/test")
        assert _delivered(backed, made)[0]["state"] == "delivered"
    backed.client.delete(f"{TARGETS}/{made['id']}")


def test_a_certificate_that_nobody_vouches_for_gets_no_mail(backed: Platform, certificate: ssl.SSLContext) -> None:
    box = Mailbox()
    with mail_server(box, tls_context=certificate) as port:
        body = {"server": "127.0.0.1", "port": port, "sender": "naos@example.org", "recipients": ["ops@example.org"]}
        made = _add(backed, name="wrong name", mail=body)
        backed.client.post(f"{TARGETS}/{made['id']}/test")
        (told,) = _delivered(backed, made)
    assert (told["state"], box.mails) == ("waiting", [])
    assert "certificate" in told["reason"].lower()
    backed.client.delete(f"{TARGETS}/{made['id']}")


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://[fe80::1]/",
        "http://10.0.0.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://user:pass@example.org/",
        "https://example.org/#part",
        "ftp://example.org/",
        "https:///nowhere",
        "https://exa mple.org/",
        "http://example.org:99999/",
        "https://example.org/\r\nX: y",
    ],
)
def test_addresses_that_are_refused_at_once(backed: Platform, url: str) -> None:
    error = backed.refused("POST", TARGETS, {"name": "x", "webhook": {"url": url, "secret": SECRET}})
    assert error["code"] == "protection.notice_address"


def test_a_name_that_leads_to_a_refused_address_gets_nothing(
    backed: Platform, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at when it is sent, on the address that is connected to: what the name said before or says after is of no use."""
    looked_up = []

    def lookup(host: str, port: int, **_more: Any) -> list[Any]:
        looked_up.append(host)
        return [(2, 1, 6, "", ("169.254.169.254", port))]

    monkeypatch.setattr(places.socket, "getaddrinfo", lookup)
    made = _add(backed, name="turncoat", webhook={"url": "https://hooks.example.org/x", "secret": SECRET})
    backed.client.post(f"{TARGETS}/{made['id']}/test")
    (told,) = _delivered(backed, made)
    assert (told["state"], looked_up) == ("given_up", ["hooks.example.org"])
    assert "169.254.169.254 is no public address" in told["reason"]
    backed.client.delete(f"{TARGETS}/{made['id']}")


def test_a_server_that_answers_for_ever_is_cut_off(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "WHOLE_SECONDS", 0.3)
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def dribble() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while not done.wait(0.005):
                try:
                    connection.sendall(b"X")
                except OSError:
                    return

    thread = threading.Thread(target=dribble, daemon=True)
    thread.start()
    target = NoticeTarget(kind="webhook", settings={"url": f"http://127.0.0.1:{listening.getsockname()[1]}/"})
    notice = Notice(id="n", tenant_id="t", event="test", subject="", text="", details={}, created_at=datetime.now(UTC))
    way = sending.Way((parse_network("127.0.0.1"),), None)
    with pytest.raises(sending.NotDelivered):
        sending.deliver(target, SECRET, notice, way)
    done.set()
    thread.join()
    listening.close()


def test_secrets_are_sealed_and_another_tenant_sees_nothing(
    backed: Platform, webhook: dict[str, Any], hook: Hook
) -> None:
    with backed.services.database.read() as session:
        for table in Base.metadata.sorted_tables:
            assert SECRET not in str(session.execute(sa.select(table)).all()), table.name
    assert "secret" not in webhook["webhook"]
    other: TestClient = backed.stranger("elsewhere")
    assert other.get(TARGETS).json() == []
    assert other.get(NOTICES, params={"targetId": webhook["id"]}).json() == []
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test")):
        error = backed.refused(
            method, f"{TARGETS}/{webhook['id']}{path}", {} if method == "PATCH" else None, client=other
        )
        assert error["status"] == 404
    assert hook.seen == []
    again = {"name": "pager", "webhook": {"url": "https://a.org", "secret": SECRET}}
    assert backed.refused("POST", TARGETS, again)["status"] == 409
    assert backed.refused("PATCH", f"{TARGETS}/{webhook['id']}", {"timeZone": "Mars"})["status"] == 422
    assert backed.refused("POST", TARGETS, {"name": "none"})["code"] == "protection.notice_kind"
