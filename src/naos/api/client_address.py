"""Who is at the other end: the address of the connection, or the one that a trusted proxy names.

`X-Forwarded-For` is what anybody can send. It is read only where the connection itself comes from a proxy of
`NAOS_TRUSTED_PROXIES`, from its right end on: each trusted proxy adds whom it heard, so the first address from the right
that is no trusted proxy is the client, and whatever stands further left was written by that client.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from naos.addresses import Address, Network, contains, parse_address
from naos.errors import NaosError, wire

HEADER = "X-Forwarded-For"


@dataclass(eq=False)
class ForwardingUnreadable(NaosError):
    """A trusted proxy sent something else than addresses: whoever called cannot be told."""

    code: ClassVar[str] = "api.forwarding_unreadable"
    status: ClassVar[int] = 400
    sentence: ClassVar[str] = (
        "The proxy at {proxy} names {given!r} as the client in X-Forwarded-For, which is no address; "
        "make it add the address that it hears, and nothing else."
    )
    proxy: str
    given: str


def client_address(connection: HTTPConnection) -> str | None:
    """The client's address in its one spelling; None where the connection has none (a socket of this machine)."""
    host = connection.client.host if connection.client else ""
    found = parse_address(host)
    return None if found is None else str(found)


def forwarded(app: ASGIApp, *, trusted: Sequence[Network]) -> ASGIApp:
    """Middleware: what comes through a trusted proxy has its client's address from here on."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        peer = parse_address((scope.get("client") or ("", 0))[0]) if scope["type"] in ("http", "websocket") else None
        if peer is None or not contains(trusted, peer):
            await app(scope, receive, send)
            return
        try:
            client = named_client(peer, Headers(scope=scope).getlist(HEADER), trusted)
        except ForwardingUnreadable as error:
            refusal = JSONResponse(wire(error), error.status)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(refusal)
            else:
                await refusal(scope, receive, send)
            return
        await app({**scope, "client": (str(client), 0)}, receive, send)

    return call


def named_client(peer: Address, headers: Sequence[str], trusted: Sequence[Network]) -> Address:
    """Whom the trusted proxy `peer` speaks for: itself, when it names nobody. Raises ForwardingUnreadable."""
    hops = [hop.strip() for header in headers for hop in header.split(",")]
    client = peer
    while hops and contains(trusted, client):
        named = parse_address(hops[-1])
        if named is None:
            raise ForwardingUnreadable(str(client), hops[-1][:64])
        client = named
        hops.pop()
    return client
