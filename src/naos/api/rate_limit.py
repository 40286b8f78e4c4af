"""How many requests a client may send: a token bucket for each client address and product.

The libraries for this (limits, pyrate-limiter, token-bucket, throttled-py) read a clock that cannot be replaced, cannot
say how long to wait, which `Retry-After` needs, or keep every key for ever; a bucket is two numbers.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import IPv6Address, IPv6Network

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from naos.addresses import parse_address
from naos.api.paths import bare

LOGIN = ("/iam/v2/auth/", "/login/")
LOGIN_SHARE = 5  # logins get a fifth of the other requests' rate: 5 and 25 a second
DATASTORES = "/compute/v1/vcenters/datastores"
DATASTORES_SHARE = 1.25  # 20 and 25 a second
SUBNET = 64  # one client has a whole IPv6 network of this length, and could call from another address of it each time


@dataclass
class _Bucket:
    tokens: float
    filled_at: float


class Limiter:
    """At most `rate` requests a second for each key, and a burst of one second's worth.

    clock: monotonic seconds. keys: how many are remembered; the one unused for longest is forgotten first, which is
    harmless since a bucket is full again after a second.
    """

    def __init__(self, rate: float, clock: Callable[[], float], *, keys: int = 10_000) -> None:
        self.rate = rate
        self._burst = max(1.0, rate)
        self._clock = clock
        self._keys = keys
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    def take(self, key: tuple[str, str]) -> float:
        """Seconds until a request of `key` would be granted; 0.0 when this one is. A refused request costs nothing."""
        now = self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, now))
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self.rate)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            return (1.0 - bucket.tokens) / self.rate
        bucket.tokens -= 1.0
        return 0.0


def limited(app: ASGIApp, *, rate: float, clock: Callable[[], float]) -> ASGIApp:
    """Middleware: answers 429 above `rate` requests a second of one client to one product (first part of the path).

    Logging in, and datastores, have limits of their own.
    """
    general, login = Limiter(rate, clock), Limiter(rate / LOGIN_SHARE, clock)
    datastores = Limiter(rate / DATASTORES_SHARE, clock)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        path = bare(scope["path"])
        product = path.split("/")[1]
        limiter = login if path.startswith(LOGIN) else general
        if path == DATASTORES or path.startswith(f"{DATASTORES}/"):
            limiter = datastores
        wait = limiter.take((counted(scope), product))
        if wait > 0.0:
            await _refusal(wait, limiter.rate)(scope, receive, send)
        else:
            await app(scope, receive, send)

    return call


def counted(scope: Scope) -> str:
    """Who a request is counted for: its client's address, or the network of an IPv6 address."""
    host: str = (scope.get("client") or ("local", 0))[0]
    address = parse_address(host)
    if address is None:
        return host
    return str(IPv6Network((address, SUBNET), strict=False)) if isinstance(address, IPv6Address) else str(address)


def _refusal(wait: float, rate: float) -> JSONResponse:
    """The body is the published one of the API that clients know, with the fields of the one error shape added."""
    status = HTTPStatus.TOO_MANY_REQUESTS
    seconds = max(1, math.ceil(wait))
    body = {
        "error": {
            "code": "api.rate_limited",
            "status": f"{status.value} {status.phrase}",
            "message": status.phrase,
            "details": {"retry_after_seconds": seconds, "requests_per_second": rate},
        }
    }
    return JSONResponse(body, status.value, {"Retry-After": str(seconds)})
