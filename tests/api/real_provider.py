"""A real OpenID provider (Canaille) on loopback, over TLS, with one person and one client, for a browser of plain requests."""

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
from canaille import create_app
from joserfc.jwk import RSAKey
from lxml import html
from werkzeug.serving import make_server

USER, PASSWORD, SECRET = "grace", "a password of the provider's own", "a-client-secret"
CLIENT = "naos-client"


@dataclass
class Provider:
    """`certificate`: the authority that its TLS is checked with. `email`: of its only person, who has verified it."""

    issuer: str
    certificate: Path
    app: Any
    email: str

    def register(self, redirect_uri: str) -> None:
        """Make the platform known to it, as its operator does."""
        with self.app.app_context():
            from canaille.app import models
            from canaille.backends import Backend

            client = models.Client(
                client_id=CLIENT,
                client_secret=SECRET,
                client_name="naos",
                client_uri="https://elsewhere.invalid",
                redirect_uris=[redirect_uri],
                grant_types=["authorization_code"],
                response_types=["code"],
                scope=["openid", "email", "profile"],
                token_endpoint_auth_method="client_secret_basic",
                client_id_issued_at=datetime.now(UTC),
            )
            Backend.instance.save(client)
            client.audience = [client]
            Backend.instance.save(client)


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that is its own authority, and its key."""
    certificate, key = folder / "provider.pem", folder / "provider.key"
    argv = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    argv += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    argv += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return certificate, key


@contextmanager
def provider(folder: Path) -> Iterator[Provider]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    certificate, key = certificate_in(folder)
    signing = RSAKey.generate_key(2048, {"kid": "signing", "use": "sig", "alg": "RS256"})
    name = f"127.0.0.1:{port}"
    config = {
        "SECRET_KEY": "of this test",
        "SERVER_NAME": name,
        "PREFERRED_URL_SCHEME": "https",
        "CANAILLE": {"DATABASE": "memory"},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [json.loads(json.dumps(signing.as_dict(private=True)))]},
    }
    app = create_app(config, env_file="/nonexistent", env_prefix="NOBODY_")
    email = "grace@example.org"
    with app.app_context():
        from canaille.app import models
        from canaille.backends import Backend

        person = models.User(
            user_name=USER,
            password=PASSWORD,
            given_name="Grace",
            family_name="Hopper",
            formatted_name="Grace Hopper",
            emails=[email],
        )
        Backend.instance.save(person)
    server = make_server("127.0.0.1", port, app, threaded=True, ssl_context=(str(certificate), str(key)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Provider(f"https://{name}", certificate, app, email)
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


def log_in_there(browser: httpx.Client, url: str, back: str) -> str:
    """Follow a log-in on the provider's own pages, as a person does, until it leads to an address that begins with `back`."""
    answer = browser.get(url)
    for _ in range(12):
        if answer.is_redirect:
            target = urljoin(str(answer.url), answer.headers["Location"])
            if target.startswith(back):
                return target
            answer = browser.get(target)
            continue
        assert answer.status_code == 200, answer.text
        answer = _fill(browser, answer)
    raise AssertionError(f"the provider never led back: {answer.url}")


def _fill(browser: httpx.Client, answer: httpx.Response) -> httpx.Response:
    page = html.fromstring(answer.text)
    forms = [form for form in page.forms if (form.get("method") or "").lower() == "post"]
    assert forms, answer.text
    form = forms[0]
    fields = {name: value or "" for name, value in form.form_values()}
    for field in form.inputs:
        kind = (field.get("type") or "").lower()
        if field.name in ("login", "user_name"):
            fields[field.name] = USER
        elif kind == "password":
            fields[field.name] = PASSWORD
    buttons = [button for button in form.xpath(".//button[@name]") if re.search("accept", button.get("value") or "")]
    fields |= {button.get("name"): button.get("value") for button in buttons[:1]}
    target = urljoin(str(answer.url), form.get("action") or "") or str(answer.url)
    return browser.post(target, data=fields, headers={"Referer": f"https://{urlsplit(str(answer.url)).netloc}/"})
