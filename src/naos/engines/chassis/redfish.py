"""Power control of a blade through its management controller's Redfish service (DMTF DSP0266), over HTTPS.

Certificates are verified against the machine's own store; SSL_CERT_FILE names another, for controllers that sign for
themselves.
"""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from naos.engines.errors import EngineError, Missing, Unreachable, Unsupported
from naos.engines.ports import BladePower

TIMEOUT = 20.0  # seconds an answer
CHANGE = 120.0  # seconds until a blade is where it was sent
_POLL = 1.0
_STATES = {"On": BladePower.ON, "Off": BladePower.OFF}  # PoweringOn, PoweringOff, Paused: on the way
_SYSTEMS = "/redfish/v1/Systems"
_RESET = "#ComputerSystem.Reset"
_REFUSED = frozenset({401, 403})
_LATER = frozenset({429, 502, 503, 504})


class RedfishChassis:
    """The blade `name`, system `system` of the service at `address`, ``https://controller[:port][/redfish/v1]``.

    system: the system's id; empty where the service has just one. credentials: a file of ``user:password``, read anew for
    every call, so that a changed password is taken up. change: seconds that a change of power may take.
    Raises Unsupported for an address that is not HTTPS.
    """

    def __init__(
        self,
        name: str,
        address: str,
        system: str,
        credentials: Path,
        *,
        change: float = CHANGE,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme != "https" or not parts.hostname or parts.path.rstrip("/") not in {"", "/redfish/v1"}:
            raise Unsupported(name, f"Redfish at {address!r}", "write https://address or https://address/redfish/v1")
        self.name = name
        self._system = system
        self._credentials = credentials
        self._change = change
        self._sleep = sleep
        # A proxy or a netrc file of whoever started naos has no business between it and its hardware.
        self._http = httpx.Client(
            base_url=f"https://{parts.netloc}",
            verify=ssl.create_default_context(),
            timeout=TIMEOUT,
            trust_env=False,
            headers={"Accept": "application/json", "OData-Version": "4.0"},
        )

    # ------------------------------------------------------------------------------------------------------------- port

    def power(self) -> BladePower:
        return _power(self._read())

    def on(self) -> None:
        """Returns when the blade says that it is on; its operating system comes later."""
        self._bring(BladePower.ON, "On")

    def off(self) -> None:
        """Cut the power, without asking the operating system. Raises Unreachable unless the blade says that it is off."""
        self._bring(BladePower.OFF, "ForceOff")

    def reset(self) -> None:
        """Off and on again, so that the blade was certainly off; one that is off is switched on."""
        self.off()
        self.on()

    def close(self) -> None:
        """End the connections to the service."""
        self._http.close()

    # --------------------------------------------------------------------------------------------------------- plumbing

    def _bring(self, wanted: BladePower, order: str) -> None:
        end = time.monotonic() + self._change
        found = self._read()
        if _power(found) is wanted:
            return
        if _power(found) is BladePower.CHANGING and not _is_forced(order):
            found = self._settled(end)
            if _power(found) is wanted:
                return
        try:
            self._order(found, order)
        except EngineError:
            # somebody else may have sent it there meanwhile, which services answer with an error
            if _power(self._read()) is not wanted:
                raise
        while _power(self._read()) is not wanted:
            self._wait(end, f"is not {wanted} {self._change:g} s after {order}")

    def _settled(self, end: float) -> dict[str, Any]:
        while True:
            found = self._read()
            if _power(found) is not BladePower.CHANGING:
                return found
            self._wait(end, f"still changes after {self._change:g} s")

    def _wait(self, end: float, reason: str) -> None:
        if time.monotonic() >= end:
            raise Unreachable(self.name, "changing power", f"the blade {reason}")
        self._sleep(_POLL)

    def _order(self, found: dict[str, Any], order: str) -> None:
        action = found.get("Actions", {}).get(_RESET, {})
        allowed = action.get("ResetType@Redfish.AllowableValues")
        if not action.get("target"):
            raise Unsupported(self.name, order, "its Redfish service offers no reset of this system")
        if allowed is not None and order not in allowed:
            raise Unsupported(self.name, order, f"its Redfish service offers {', '.join(map(str, allowed))}")
        # only the path: an answer must not send our password to another host
        self._call("POST", urlsplit(action["target"]).path, order, {"ResetType": order})

    def _read(self) -> dict[str, Any]:
        return self._json(self._path(), "reading the power state")

    def _path(self) -> str:
        if self._system:
            return f"{_SYSTEMS}/{quote(self._system, safe='')}"
        members = self._json(_SYSTEMS, "listing its systems").get("Members", [])
        if len(members) != 1:
            raise Missing(
                self.name, "system of that name", f"its service has {len(members)}; give `system` in the inventory"
            )
        return urlsplit(str(members[0].get("@odata.id", ""))).path

    def _json(self, path: str, what: str) -> dict[str, Any]:
        answer = self._call("GET", path, what)
        try:
            found = answer.json()
        except ValueError as error:
            raise EngineError(self.name, what, f"{path} is not JSON; is this a Redfish service?") from error
        if not isinstance(found, dict):
            raise EngineError(self.name, what, f"{path} is not an object; is this a Redfish service?")
        return found

    def _call(self, method: str, path: str, what: str, body: dict[str, str] | None = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body, auth=self._login())
        except httpx.TransportError as error:
            raise Unreachable(self.name, what, str(error) or type(error).__name__) from error
        if answer.status_code in _REFUSED:
            raise EngineError(self.name, what, f"its Redfish service refuses the credentials in {self._credentials}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise Missing(self.name, path, "its Redfish service does not know it; check `system` in the inventory")
        if answer.status_code in _LATER:
            raise Unreachable(self.name, what, f"its Redfish service answers {answer.status_code}")
        if not answer.is_success:
            raise EngineError(self.name, what, f"{answer.status_code} {_reason(answer)}")
        return answer

    def _login(self) -> tuple[str, str] | None:
        """None where the inventory names no file: some services need no login."""
        if self._credentials == Path():
            return None
        try:
            user, colon, password = self._credentials.read_text(encoding="utf-8").strip("\r\n").partition(":")
        except OSError as error:
            raise EngineError(self.name, "reading its credentials", str(error)) from error
        if not colon:
            raise EngineError(self.name, "reading its credentials", f"{self._credentials} does not hold user:password")
        return user, password


def _power(found: dict[str, Any]) -> BladePower:
    return _STATES.get(str(found.get("PowerState")), BladePower.CHANGING)


def _is_forced(order: str) -> bool:
    return order.startswith("Force")


def _reason(answer: httpx.Response) -> str:
    """The service's own words, as Redfish puts them."""
    try:
        error = answer.json()["error"]
        details = [item["Message"] for item in error.get("@Message.ExtendedInfo", []) if item.get("Message")]
        return "; ".join(details) or str(error["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return answer.text[:200]
