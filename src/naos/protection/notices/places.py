"""Connections to places that tenants name: looked up once, each address looked at, and connected to that very address.

So a name that changes its mind gains nothing. Redirections are not followed, and no proxy is taken from the environment.
"""

import socket
from collections.abc import Sequence
from contextlib import suppress
from threading import Timer
from typing import Self

from naos.addresses import Network, parse_address
from naos.protection.notices import rules
from naos.protection.notices.errors import NotDelivered

STEP_SECONDS, WHOLE_SECONDS = 10.0, 30.0
"""Of one answer, and of a whole delivery, however slowly it answers."""


class Deadline:
    """Cuts the connections made under it when the whole takes too long. passed: it has, and what was read may lack its end."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []
        self.passed = False
        self._timer = Timer(WHOLE_SECONDS, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._timer.cancel()
        for held in self._held:
            held.close()

    def keep(self, made: socket.socket) -> None:
        self._held.append(made.dup())  # TLS takes the socket over, and leaves an empty one

    def _cut(self) -> None:
        self.passed = True
        for held in list(self._held):
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)


def connect(host: str, port: int, allowed: Sequence[Network], deadline: Deadline, *, clear: bool) -> socket.socket:
    """clear: what is said there is not encrypted. Raises NotDelivered for a place that nothing is sent to, OSError."""
    shown = f"{host}:{port}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotDelivered(shown, f"its name cannot be looked up ({error})") from error
    last: OSError | None = None
    for family, kind, protocol, _name, place in found:
        _check(shown, str(place[0]), allowed, clear=clear)
        made = socket.socket(family, kind, protocol)
        made.settimeout(STEP_SECONDS)
        try:
            made.connect(place)
        except OSError as error:
            made.close()
            last = error
        else:
            deadline.keep(made)
            return made
    raise last or OSError(f"{shown} has no address")


def _check(shown: str, text: str, allowed: Sequence[Network], *, clear: bool) -> None:
    address = parse_address(text)
    reason = "its address is none" if address is None else rules.why_not(address, allowed)
    if reason is not None or address is None:
        raise NotDelivered(shown, reason or "", lasting=True)
    if clear and not rules.in_clear(address, allowed):
        raise NotDelivered(
            shown, "nothing goes there unencrypted; use https, or starttls or tls for mail", lasting=True
        )
