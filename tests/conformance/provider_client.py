"""A client that speaks as the public provider does, and forgives as little: see `provider_contract` for calls and shapes."""

import base64
import json
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

import httpx
from provider_contract import BY_NAME, Answers, Call, decoded

LOGIN = "/iam/v2/auth/personal_access_token"
ACTIVITIES = "/activity/v1/activities"
ATTEMPTS = 3
PAUSES = (1, 2, 3, 5, 8, 13, 21)
LONGEST_PAUSE = 30
EARLY = 5 * 60
"""Seconds before a token's end from which it is no longer used."""

TAKEN = {
    Answers.LIST: {200, 201, 206},
    Answers.TOLERANT: {200, 206},
    Answers.ONE: {200, 206},
    Answers.ONE_OR_FAULT: {200, 206},
    Answers.STRICT: {200},
    Answers.ACTIVITY: {200, 201, 206},
    Answers.CREATED: {201},
    Answers.DONE: {200, 201, 206},
    Answers.GONE: {204, 201},
}


class Refused(Exception):
    """An answer that the call does not take; the text is what the provider shows its user."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Failed(Exception):
    """An activity ended in `failed`. `items`: what it concerns, the object that it was to make first."""

    def __init__(self, reason: str, activity: dict[str, Any]) -> None:
        super().__init__(reason)
        self.activity = activity


class Broken(AssertionError):
    """The answer breaks the contract itself."""


@dataclass
class Client:
    """One token's conversation with the API at `address`, with or without the prefix `/api`.

    pace: the factor on every pause between two looks at an activity or two attempts; 1.0 is the provider's.
    patience: how many looks an activity gets before it counts as never ending.
    """

    address: str
    token_id: str
    secret: str
    prefix: str = ""
    pace: float = 0.02
    patience: int = 400
    calls: list[tuple[str, str]] = field(default_factory=list)
    _session: str = ""

    def __post_init__(self) -> None:
        self._http = httpx.Client(base_url=self.address, timeout=60, trust_env=False)

    def close(self) -> None:
        self._http.close()

    # ------------------------------------------------------------------------------------------------------- session

    def session(self) -> str:
        """The bare JWT, fetched when there is none or its end is near."""
        if not self._session or float(self.claims.get("exp", 0)) - time.time() <= EARLY:
            answer = self._patient("POST", LOGIN, content=_body({"id": self.token_id, "secret": self.secret}))
            _no_location(answer)
            if answer.status_code not in {200, 201, 206}:
                raise Refused(answer.status_code, f"failed to login: {answer.text}")
            if not re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", answer.text, re.ASCII):
                raise Broken(f"the login's answer is no bare JWT: {answer.text!r}")
            self._session = answer.text
            self._check_session()
        return self._session

    @property
    def claims(self) -> dict[str, Any]:
        return _segment(self._session.split(".")[1]) if self._session else {}

    @property
    def tenant(self) -> str:
        self.session()
        return str(self.claims["scope"]["id"])

    def _check_session(self) -> None:
        header = _segment(self._session.split(".")[0])
        known = {f"{kind}{size}" for kind in ("HS", "RS", "ES", "PS") for size in (256, 384, 512)} | {"EdDSA"}
        if header.get("alg") not in known:
            raise Broken(f"the JWT's algorithm {header.get('alg')!r} is none that the provider knows")
        claims = self.claims
        if not isinstance(claims.get("exp"), int):
            raise Broken(f"the claim exp is {claims.get('exp')!r}")
        for name, value in (("userId", claims.get("userId")), ("companyId", claims.get("companyId"))):
            if not isinstance(value, str) or not value:
                raise Broken(f"the claim {name} is {value!r}")
        if not isinstance(claims.get("scope", {}).get("id"), str):
            raise Broken(f"the claim scope is {claims.get('scope')!r}")

    # --------------------------------------------------------------------------------------------------------- reads

    def one(self, path: str, *ids: str, **query: Any) -> dict[str, Any] | None:
        """What a read by id gives; None for an absent object."""
        found: dict[str, Any] | None = self._read(BY_NAME["GET", path], ids, query)
        return found

    def list(self, path: str, *ids: str, answers: Answers | None = None, **query: Any) -> Any:
        """What a list gives, in order; metrics give an object. `answers`: another class than the call's own."""
        return self._read(BY_NAME["GET", path], ids, query, answers)

    def _read(self, call: Call, ids: Sequence[str], query: dict[str, Any], answers: Answers | None = None) -> Any:
        wanted = answers or call.answers
        unknown = set(query) - call.query
        assert not unknown, f"the provider never sends {unknown} to {call.path}"
        answer = self._patient("GET", _filled(call.path, ids) + _query(query), headers=self._authorization())
        _no_location(answer)
        status = answer.status_code
        absent = {404, 500} if wanted is Answers.ONE_OR_FAULT else {404}
        if status in absent and wanted in {Answers.ONE, Answers.ONE_OR_FAULT}:
            return None
        if status in absent and wanted is Answers.TOLERANT:
            return []
        if status not in TAKEN[wanted]:
            raise _refusal(answer, wanted)
        return decoded(call.answer, _json(answer), f"GET {call.path}")

    # -------------------------------------------------------------------------------------------------------- writes

    def write(self, method: str, path: str, *ids: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Do a write of class A and follow its activity to its end. Raises Refused, Failed."""
        return self.follow(self.start(method, path, *ids, body=body))

    def start(self, method: str, path: str, *ids: str, body: dict[str, Any] | None = None) -> str:
        """Start a write of class A: the id of its activity."""
        call = BY_NAME[method, path]
        assert call.answers is Answers.ACTIVITY, f"{method} {path} has no activity"
        answer = self._send(call, ids, body)
        location = answer.headers.get("Location", "")
        if answer.status_code not in TAKEN[call.answers]:
            _no_location(answer)
            raise _refusal(answer, call.answers)
        if not _is_uuid(location):
            raise Broken(f"Location of {method} {path} is {location!r}, not a bare activity id")
        return str(location)

    def plain(self, method: str, path: str, *ids: str, body: dict[str, Any] | None = None) -> Any:
        """Do a write that answers at once; what it says, where the provider reads it."""
        call = BY_NAME[method, path]
        assert call.answers is not Answers.ACTIVITY
        answer = self._send(call, ids, body)
        _no_location(answer)
        if answer.status_code not in TAKEN[call.answers]:
            raise _refusal(answer, call.answers)
        return None if call.answer is None else decoded(call.answer, _json(answer), f"{method} {path}")

    def _send(self, call: Call, ids: Sequence[str], body: dict[str, Any] | None) -> httpx.Response:
        """Once: a write is never repeated."""
        assert (body is not None) == call.body, f"{call.method} {call.path}: body"
        content = None if body is None else _body(body)
        return self._request(call.method, _filled(call.path, ids), content=content, headers=self._authorization())

    def follow(self, activity_id: str) -> dict[str, Any]:
        """The activity once it has ended in `completed`. Raises Failed when it ended otherwise."""
        seen = False
        for look in range(self.patience):
            activity = self.one(f"{ACTIVITIES}/{{id}}", activity_id)
            if activity is None and (seen or look > 0):
                raise Broken(f"activity {activity_id} answers 404")
            seen = seen or activity is not None
            if activity is not None and self._settled(activity):
                return activity
            self._pause(PAUSES[look] if look < len(PAUSES) else LONGEST_PAUSE)
        raise Broken(f"activity {activity_id} never ends")

    def _settled(self, activity: dict[str, Any]) -> bool:
        states = activity["state"] or {}
        if len(states) != 1:
            raise Broken(f"an activity has one state, not {sorted(states)}")
        (name,) = states
        if name not in {"waiting", "running", "completed", "failed"}:
            raise Broken(f"{name!r} is no state of an activity")
        if name == "failed":
            raise Failed(states[name]["reason"], activity)
        return name == "completed"

    # ------------------------------------------------------------------------------------------------------- sending

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session()}"}

    def _patient(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Up to three attempts on 429, on 5xx and on connections that break: for reads and the login only."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            wait = 0.5 * 2**attempt
            try:
                answer = self._request(method, path, **options)
            except httpx.TransportError:
                if last:
                    raise
            else:
                if last or (answer.status_code != 429 and answer.status_code < 500):
                    return answer
                given = answer.headers.get("Retry-After", "")
                wait = min(float(given), 5.0) if given.isdecimal() else wait
            self._pause(wait)
        raise AssertionError

    def _request(self, method: str, path: str, *, content: bytes | None = None, **options: Any) -> httpx.Response:
        headers = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip", **options.get("headers", {})}
        if content is not None:
            headers["Content-Type"] = "application/json"
        self.calls.append((method, path))
        request = self._http.build_request(method, self.prefix + path, content=content, headers=headers)
        request.headers.pop("Accept", None)  # the provider never sends one
        return self._http.send(request)

    def _pause(self, seconds: float) -> None:
        time.sleep(min(seconds, LONGEST_PAUSE) * self.pace)


def _body(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _query(query: dict[str, Any]) -> str:
    """Form-encoded, keys in order; lists repeat their key, empty filters are left out."""
    pairs = []
    for key in sorted(query):
        values = query[key] if isinstance(query[key], list) else [query[key]]
        pairs += [(key, value) for value in values if value not in (None, "")]
    texts = [(key, str(value).lower() if isinstance(value, bool) else str(value)) for key, value in pairs]
    return "?" + "&".join(f"{quote_plus(key)}={quote_plus(value)}" for key, value in texts) if texts else ""


def _filled(path: str, ids: Sequence[str]) -> str:
    """`path` with its ids, which are not escaped."""
    assert path.count("{") == len(ids), (path, ids)
    for identifier in ids:
        path = re.sub(r"{[^}]+}", lambda _match, put=identifier: put, path, count=1)
    return path


def _json(answer: httpx.Response) -> Any:
    try:
        return json.loads(answer.content, parse_constant=_no_number)
    except ValueError as error:
        raise Broken(f"{answer.request.url} answered with no JSON: {answer.text[:200]!r}") from error


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _refusal(answer: httpx.Response, answers: Answers) -> Refused:
    status = answer.status_code
    tolerant = {Answers.ONE, Answers.ONE_OR_FAULT, Answers.TOLERANT}
    if status == 403 and answers in tolerant:
        return Refused(status, f"access denied: {status} {answer.reason_phrase}")
    return Refused(status, f"Unexpected response code: {status} ({answer.text.strip()})")


def _no_location(answer: httpx.Response) -> None:
    if "Location" in answer.headers:
        raise Broken(f"{answer.request.method} {answer.request.url} sends a Location that stands for no activity")


def _segment(text: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    if not isinstance(value, dict):
        raise Broken(f"a part of the JWT is {value!r}")
    return value


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def made(activity: dict[str, Any], kind: str) -> str:
    """The id of the object that an activity made: the first concerned item of its kind, and the first of all."""
    items = activity["concernedItems"]
    first = next((item["id"] for item in items if item["type"] == kind), "")
    if not first or items[0]["id"] != first:
        raise Broken(f"the first concerned item is no {kind}: {items}")
    return str(first)


def result(activity: dict[str, Any]) -> str:
    """The id that a finished activity names as its result."""
    (state,) = activity["state"].values()
    if not _is_uuid(state["result"]):
        raise Broken(f"the result {state['result']!r} is no id")
    return str(state["result"])
