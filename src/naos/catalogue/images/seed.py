"""NoCloud seeds: a small ISO image from which a guest takes its name, keys, addresses and first script.

What the user gave (user data, network configuration) goes in byte for byte; what naos adds goes into files of its own
(keys and name into meta-data, the password into vendor-data), so that nothing has to be merged.
"""

import hashlib
import ipaddress
import json
import re
import struct
import unicodedata
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pycdlib

from naos.catalogue.images import atomic, commands
from naos.catalogue.images.errors import SeedRefused

VOLUME = "CIDATA"
LARGEST_TEXT = 1024 * 1024
"""Bytes of user data or network configuration at most."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOSTNAME = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_KEY = re.compile(r"(ssh|ecdsa|sk)-[A-Za-z0-9@.-]+ [A-Za-z0-9+/]+=*( [^\0\r\n]*)?")
_USER_DATA_HEADS = ("#!", "#cloud-", "#include", "#part-handler", "## template:", "Content-Type:", "MIME-Version:")

_SECTOR = 2048
_MOMENT = (100, 1, 1, 0, 0, 0, 0)  # 2000-01-01 in the format of ISO 9660's folders: equal seeds are equal bytes
_LONG_MOMENT = b"2000010100000000\0"


def hostname_for(name: str) -> str:
    """A host name (one RFC 1123 label, lower case, never empty) for any Unicode name.

    Accents go; when letters or digits had to go too, eight digits that depend on the whole name keep different names
    apart.
    """
    if _LABEL.fullmatch(name):
        return name
    plain = unicodedata.normalize("NFKD", name).casefold()
    kept = re.sub(r"[^a-z0-9]+", "-", "".join(char for char in plain if not unicodedata.combining(char))).strip("-")
    lost = any(char.isalnum() and not char.isascii() for char in plain)
    if kept and not lost:
        return kept[:63].rstrip("-")
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{(kept or 'vm')[:54].rstrip('-')}-{mark}"


def write_seed(
    target: Path,
    *,
    instance_id: str,
    hostname: str,
    ssh_keys: Sequence[str] = (),
    addresses: Sequence[Mapping[str, Any]] = (),
    user_data: str | None = None,
    network_config: str | None = None,
    password: str | None = None,
    seedfrom: str | None = None,
    environment: bytes | None = None,
) -> None:
    """Write the seed to `target`, complete or not at all; equal arguments give equal bytes.

    addresses: one item for each address: `mac`, `address` (with prefix length; None means DHCP), `gateway` (or None);
    adapters keep their order. network_config: a whole network configuration of the user's, which takes the place of
    addresses. seedfrom: an address from which the guest fetches further user data and meta-data. environment: an OVF
    environment, which lies beside the rest for guests that look for one.
    Raises SeedRefused.
    """
    files = {
        "meta-data": _meta_data(instance_id, hostname, ssh_keys, seedfrom),
        "user-data": _user_data(user_data),
        "network-config": _network_config(addresses, network_config),
        "vendor-data": _vendor_data(instance_id, password),
        "ovf-env.xml": environment,
    }
    with atomic.replacing(target) as partial:
        partial.write_bytes(_image({name: content for name, content in files.items() if content is not None}))
        partial.chmod(0o600)  # user data often holds secrets


# ------------------------------------------------------------------------------------------------------------- content


def _json(value: Any) -> bytes:
    """JSON is YAML, and quotes everything that YAML would take for something else."""
    return json.dumps(value, indent=1).encode() + b"\n"


def _meta_data(instance_id: str, hostname: str, ssh_keys: Sequence[str], seedfrom: str | None) -> bytes:
    if not _INSTANCE.fullmatch(instance_id):
        raise SeedRefused("instance id", instance_id, "letters, digits, '.', '_' and '-' are allowed, 128 at most")
    if not _HOSTNAME.fullmatch(hostname.lower()) or len(hostname) > 253:
        raise SeedRefused("host name", hostname, "labels of letters, digits and inner '-' are allowed, each 63 at most")
    for key in ssh_keys:
        if not _KEY.fullmatch(key.strip()):
            raise SeedRefused(
                "SSH key", key[:60], "it must be one line of an OpenSSH public key: type, base64, comment"
            )
    keys = [key.strip() for key in ssh_keys]
    found = {"instance-id": instance_id, "local-hostname": hostname, "public-keys": keys}
    return _json(found | ({"seedfrom": seedfrom} if seedfrom else {}))


def _user_data(text: str | None) -> bytes:
    if not text:
        return b""
    if not text.startswith(_USER_DATA_HEADS):
        raise SeedRefused("user data", text[:40], "it must begin with `#!` (a script) or `#cloud-config`")
    return _limited("user data", text)


def _limited(what: str, text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    if len(content) > LARGEST_TEXT:
        raise SeedRefused(what, text[:40], f"it has {len(content)} bytes; {LARGEST_TEXT} is the most")
    return content


def _network_config(addresses: Sequence[Mapping[str, Any]], text: str | None) -> bytes | None:
    if text:
        return _limited("network configuration", text)
    adapters: dict[str, dict[str, Any]] = {}
    for entry in addresses:
        mac = str(entry["mac"]).lower()
        if not _MAC.fullmatch(mac):
            raise SeedRefused("MAC address", mac, "it must have six hexadecimal pairs with colons")
        name = f"eth{list(adapters).index(mac) if mac in adapters else len(adapters)}"
        adapter: dict[str, Any] = adapters.setdefault(mac, {"match": {"macaddress": mac}, "set-name": name})
        _add_address(adapter, entry.get("address"), entry.get("gateway"))
    if not adapters:
        return None
    return _json({"version": 2, "ethernets": {adapter["set-name"]: adapter for adapter in adapters.values()}})


def _add_address(adapter: dict[str, Any], address: str | None, gateway: str | None) -> None:
    if not address:
        adapter["dhcp4"] = True
        return
    if "/" not in address:
        raise SeedRefused("address", address, "a prefix length is missing, as in 192.0.2.10/24")
    try:
        interface = ipaddress.ip_interface(address)
        via = ipaddress.ip_address(gateway) if gateway else None
    except ValueError as error:
        raise SeedRefused("address", f"{address} via {gateway}" if gateway else address, str(error)) from None
    if via is not None and via.version != interface.version:
        raise SeedRefused("gateway", str(gateway), f"it cannot serve the address {address}")
    adapter.setdefault("dhcp4", False)
    adapter.setdefault("addresses", []).append(interface.with_prefixlen)
    if via is not None:
        # not `default`, which older readers of version 2 do not know
        route: dict[str, Any] = {"to": "0.0.0.0/0" if via.version == 4 else "::/0", "via": str(via)}
        if via not in interface.network:
            route["on-link"] = True
        adapter.setdefault("routes", []).append(route)


def _vendor_data(instance_id: str, password: str | None) -> bytes | None:
    """The default user's password, hashed: the image lies on blades."""
    if not password:
        return None
    if re.search(r"[\0\r\n]", password):
        raise SeedRefused("password", "*" * 8, "it must be one line")
    salt = hashlib.sha256(instance_id.encode()).hexdigest()[:16]
    argv = ["openssl", "passwd", "-6", "-salt", salt, "-stdin"]
    hashed = commands.run(argv, timeout=30, stdin=f"{password}\n".encode()).strip()
    settings = {"password": hashed, "chpasswd": {"expire": False}, "ssh_pwauth": True}
    return b"#cloud-config\n" + _json(settings)


# --------------------------------------------------------------------------------------------------------------- image


def _image(files: Mapping[str, bytes]) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=VOLUME, joliet=3, rock_ridge="1.09")
    for name, content in sorted(files.items()):
        plain = name.upper().replace("-", "_")
        plain = plain if "." in plain else f"{plain}."
        iso.add_fp(
            BytesIO(content), len(content), f"/{plain};1", rr_name=name, joliet_path=f"/{name}", file_mode=0o100444
        )
    output = BytesIO()
    iso.write_fp(output)
    iso.close()
    return _without_times(bytearray(output.getvalue()))


def _without_times(image: bytearray) -> bytes:
    """The image with one fixed time everywhere: the writer puts the present into every record, always."""
    for sector in range(16, len(image) // _SECTOR):
        start = sector * _SECTOR
        if image[start] == 255 or image[start + 1 : start + 6] != b"CD001":  # the last descriptor
            break
        for place in range(start + 813, start + 813 + 4 * 17, 17):
            if image[place : place + 16] != b"0" * 16:
                image[place : place + 17] = _LONG_MOMENT
        _fix_record(image, start + 156)
        first, size = (struct.unpack_from("<I", image, start + 156 + offset)[0] for offset in (2, 10))
        place, end = first * _SECTOR, first * _SECTOR + size
        while place < end:
            if image[place] == 0:
                place = (place // _SECTOR + 1) * _SECTOR
                continue
            _fix_record(image, place)
            place += image[place]
    return bytes(image)


def _fix_record(image: bytearray, place: int) -> None:
    image[place + 18 : place + 25] = bytes(_MOMENT)
    entry, end = place + 33 + image[place + 32], place + image[place]
    entry += (entry - place) % 2
    while entry + 4 < end and image[entry + 2] > 4:
        if image[entry : entry + 2] == b"TF":
            for stamp in range(entry + 5, entry + image[entry + 2], 7):
                image[stamp : stamp + 7] = bytes(_MOMENT)
        entry += image[entry + 2]
