"""Fetching an image by HTTP: bounded in size, time and redirects, and kept away from addresses that are this machine's
alone.

Private networks are allowed, because that is where an operator's own mirror is. Refused are link-local addresses (there
lie the metadata services of clouds), multicast and unspecified ones, and loopback unless the caller allows it. The
address is looked at before the request and once more on the connection, so that a name that changes its mind gains
nothing. No proxy is taken from the environment.
"""

import errno
import ipaddress
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from naos.catalogue.images.errors import DownloadFailed, ImageTooLarge, SourceRefused
from naos.catalogue.images.network import visiting
from naos.engines.errors import NoSpace

MOST_REDIRECTS = 5
LONGEST = 6 * 3600.0
"""Seconds that a download may take in all."""
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)
_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Bounds:
    """`size`: bytes at most. `allow_loopback`: for a mirror on this machine. `namespace`: see `network.visiting`."""

    size: int
    allow_loopback: bool = False
    namespace: Path | None = None


def is_url(source: str) -> bool:
    return "://" in source or source.lower().startswith(("file:", "data:"))


def shown(url: str) -> str:
    """The URL without credentials, query and fragment."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{place}{parts.path}"


def name_of(url: str) -> str:
    """The last part of a URL's path, or its host."""
    parts = urlsplit(url)
    return parts.path.rstrip("/").rpartition("/")[2] or parts.hostname or "image"


def fetch(url: str, target: Path, bounds: Bounds, progress: Callable[[float], None]) -> None:
    """Download to `target`. progress: share from 0 to 1, when the size is known.

    Raises SourceRefused, DownloadFailed, ImageTooLarge, NoSpace.
    """
    try:
        with (
            visiting(bounds.namespace),
            httpx.Client(timeout=_TIMEOUT, trust_env=False, headers={"Accept-Encoding": "identity"}) as client,
        ):
            _follow(client, url, target, bounds, progress)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DownloadFailed(shown(url), str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise NoSpace("this controller", name_of(url), str(error)) from error


def _follow(client: httpx.Client, url: str, target: Path, bounds: Bounds, progress: Callable[[float], None]) -> None:
    place = url
    for _hop in range(MOST_REDIRECTS + 1):
        _check_place(place, bounds)
        with client.stream("GET", place) as response:
            _check_peer(place, response, bounds)
            if response.is_redirect:
                following = urljoin(place, response.headers.get("location", ""))
                if urlsplit(place).scheme == "https" and urlsplit(following).scheme != "https":
                    raise SourceRefused(shown(following), f"{shown(place)} leads there out of https")
                place = following
                continue
            _save(place, response, target, bounds, progress)
            return
    raise DownloadFailed(shown(url), f"it redirects more than {MOST_REDIRECTS} times")


def _check_place(url: str, bounds: Bounds) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise SourceRefused(shown(url), "only http and https addresses are fetched")
    if not parts.hostname:
        raise SourceRefused(shown(url), "it names no host")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, ValueError) as error:
        raise DownloadFailed(shown(url), f"its host cannot be looked up ({error})") from error
    for _family, _type, _protocol, _canonical, address in found:
        _check_address(url, str(address[0]), bounds)


def _check_peer(url: str, response: httpx.Response, bounds: Bounds) -> None:
    stream = response.extensions.get("network_stream")
    peer = stream.get_extra_info("server_addr") if stream is not None else None
    if peer is None:
        raise DownloadFailed(shown(url), "its address is not known")
    _check_address(url, str(peer[0]), bounds)


def _check_address(url: str, text: str, bounds: Bounds) -> None:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        if not bounds.allow_loopback:
            raise SourceRefused(shown(url), f"{address} is this machine itself")
    elif address.is_link_local or address.is_multicast or address.is_unspecified:
        raise SourceRefused(shown(url), f"{address} is not an address of a file server")


def _save(url: str, response: httpx.Response, target: Path, bounds: Bounds, progress: Callable[[float], None]) -> None:
    if response.status_code != httpx.codes.OK:
        raise DownloadFailed(shown(url), f"the server answered {response.status_code} {response.reason_phrase}")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise DownloadFailed(shown(url), "the server encodes it, which was not asked for")
    announced = int(response.headers.get("content-length") or 0)
    if announced > bounds.size:
        raise ImageTooLarge(name_of(url), "file", announced, bounds.size)
    free = shutil.disk_usage(target.parent).free
    if announced > free:
        raise NoSpace("this controller", name_of(url), f"it has {announced} bytes and {free} are free")
    deadline = time.monotonic() + LONGEST
    done = 0
    with target.open("wb") as stream:
        for chunk in response.iter_raw(_CHUNK):
            done += len(chunk)
            if done > bounds.size:
                raise ImageTooLarge(name_of(url), "file", done, bounds.size)
            if time.monotonic() > deadline:
                raise DownloadFailed(shown(url), f"it took more than {LONGEST:.0f} s")
            stream.write(chunk)
            if announced:
                progress(min(done / announced, 1.0))
    if announced and done != announced:
        raise DownloadFailed(shown(url), f"it ended after {done} of {announced} bytes")
