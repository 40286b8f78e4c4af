"""Extra configuration: which keys there are, what they may hold, and what becomes of them. Pure.

Every `guestinfo` key reaches the guest as it was given, as a file of its firmware's configuration device
(`/sys/firmware/qemu_fw_cfg/by_name/opt/naos/<key>/raw` under Linux). Beyond that, user data and metadata go into the seed that
cloud-init reads, and an Ignition configuration to where Ignition looks under QEMU.
"""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any

import yaml  # type: ignore[import-untyped]

from naos.compute.configuration_errors import ExtraKeyUnknown, ExtraValueInvalid

TEXTS = (
    "guestinfo.ignition.config.data",
    "guestinfo.ignition.config.data.encoding",
    "guestinfo.afterburn.initrd.network-kargs",
    "guestinfo.userdata",
    "guestinfo.userdata.encoding",
    "guestinfo.metadata",
    "guestinfo.metadata.encoding",
)
ENABLE_UUID = "disk.enableUUID"
STEAL_CLOCK = "stealclock.enable"
LARGE_WINDOW = "pciPassthru.use64BitMMIO"
WINDOW_SIZE = "pciPassthru.64bitMMioSizeGB"
FLAGS = (ENABLE_UUID, STEAL_CLOCK, LARGE_WINDOW)
NUMBERS = (WINDOW_SIZE,)
KEYS = (*TEXTS, *FLAGS, *NUMBERS)
ALWAYS = {
    ENABLE_UUID: "every disk shows its guest a serial number, always; set it to true, or leave it out",
    STEAL_CLOCK: "a guest always sees the time that it was kept waiting, where the processor has KVM; set it to true, or leave it out",
}
ENCODINGS = {"": "", "base64": "base64", "b64": "base64", "gzip+base64": "gzip+base64", "gz+b64": "gzip+base64"}
LARGEST = 512 * 1024
"""Bytes of one value, as given and decoded."""
LARGEST_WINDOW = 1024  # GiB
_SHOWN = 40

Value = str | bool | int


def checked(given: Mapping[str, Any]) -> dict[str, Value]:
    """What was sent, when every key is known and every value of its type. Raises ExtraKeyUnknown, ExtraValueInvalid."""
    by_lower = {key.lower(): key for key in KEYS}
    found: dict[str, Value] = {}
    for sent, value in given.items():
        key = by_lower.get(sent.lower())
        if key is None:
            raise ExtraKeyUnknown(sent, ", ".join(KEYS))
        found[key] = _typed(key, value)
    return found


def _typed(key: str, value: Any) -> Value:
    shown = json.dumps(value, ensure_ascii=False)[:_SHOWN]
    if key in FLAGS:
        if not isinstance(value, bool):
            raise ExtraValueInvalid(key, shown, "it is true or false")
        if value is False and key in ALWAYS:
            raise ExtraValueInvalid(key, shown, ALWAYS[key])
        return value
    if key in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_WINDOW:
            raise ExtraValueInvalid(key, shown, f"it is a whole number of GiB, from 1 to {LARGEST_WINDOW}")
        return value
    if not isinstance(value, str):
        raise ExtraValueInvalid(key, shown, "it is a text")
    if len(value.encode()) > LARGEST:
        raise ExtraValueInvalid(key, f"{len(value.encode())} bytes long", f"{LARGEST} bytes are the most")
    if key.endswith(".encoding") and value not in ENCODINGS:
        raise ExtraValueInvalid(key, shown, "the encodings are base64 and gzip+base64")
    return value


def merged(present: Mapping[str, Value], change: Mapping[str, Value]) -> dict[str, Value]:
    """What a machine has afterwards: an empty text takes its key away, other keys stay. Raises ExtraValueInvalid for data that
    its encoding cannot read, or that nobody could use."""
    after = {key: value for key, value in {**present, **change}.items() if value != ""}
    user_data(after)
    seed_of_metadata(after)
    ignition(after)
    return after


def as_text(value: Value) -> str:
    """How a value is shown: ``TRUE``, ``64``, or the text."""
    return str(value).upper() if isinstance(value, bool) else str(value)


def _decoded(config: Mapping[str, Value], key: str) -> bytes | None:
    value = config.get(key)
    if not isinstance(value, str) or not value:
        return None
    encoding = ENCODINGS[str(config.get(f"{key}.encoding", ""))]
    if not encoding:
        return value.encode()
    try:
        data = base64.b64decode("".join(value.split()), validate=True)
        if encoding == "gzip+base64":
            reader = zlib.decompressobj(wbits=31)
            data = reader.decompress(data, LARGEST + 1)
    except (binascii.Error, zlib.error) as error:
        raise ExtraValueInvalid(key, "what it is", f"it is not {encoding} ({error})") from None
    if len(data) > LARGEST:
        raise ExtraValueInvalid(key, "what it is", f"it holds more than {LARGEST} bytes")
    return data


def _text(config: Mapping[str, Value], key: str) -> str | None:
    data = _decoded(config, key)
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ExtraValueInvalid(key, "what it is", f"it is no UTF-8 text ({error})") from None


def user_data(config: Mapping[str, Value]) -> str | None:
    """cloud-init's user data."""
    return _text(config, "guestinfo.userdata")


def ignition(config: Mapping[str, Value]) -> str | None:
    """An Ignition configuration, which is JSON."""
    text = _text(config, "guestinfo.ignition.config.data")
    if text is not None:
        try:
            json.loads(text)
        except ValueError as error:
            key = "guestinfo.ignition.config.data"
            raise ExtraValueInvalid(key, "what it is", f"Ignition reads JSON only ({error})") from None
    return text


def seed_of_metadata(config: Mapping[str, Value]) -> dict[str, Any]:
    """The seed's fields from cloud-init's metadata: instance_id, hostname, ssh_keys, network_config."""
    key = "guestinfo.metadata"
    text = _text(config, key)
    if text is None:
        return {}
    try:
        # What is written once and meant many times would become many times as large: nothing needs that here.
        # libyaml's loader has a greatest depth; in the other one, depth takes time by its square.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.CSafeLoader)):
            raise ExtraValueInvalid(key, "what it is", "it has aliases (`*name`); write the values out")
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ExtraValueInvalid(
            key, "what it is", f"it is neither YAML nor JSON ({' '.join(str(error).split())[:200]})"
        ) from None
    if not isinstance(found, dict):
        raise ExtraValueInvalid(key, "what it is", "it must be a mapping such as {local-hostname: web-1}")
    seed: dict[str, Any] = {}
    for names, field in ((("instance-id",), "instance_id"), (("local-hostname", "hostname"), "hostname")):
        value = next((found[name] for name in names if found.get(name)), None)
        if value is not None:
            seed[field] = str(value)
    keys = found.get("public-keys") or found.get("public-keys-data")
    if keys:
        seed["ssh_keys"] = keys.splitlines() if isinstance(keys, str) else [str(entry) for entry in keys]
    if found.get("network"):
        seed["network_config"] = _network(found)
    return seed


def _network(metadata: Mapping[str, Any]) -> str:
    """The network part of metadata: a mapping, or one that is encoded as its neighbour `network.encoding` says."""
    network = metadata["network"]
    if isinstance(network, str):
        inner: dict[str, Value] = {"network": network, "network.encoding": str(metadata.get("network.encoding", ""))}
        if inner["network.encoding"] not in ENCODINGS:
            raise ExtraValueInvalid(
                "guestinfo.metadata", "what it is", "its network's encodings are base64 and gzip+base64"
            )
        return _text(inner, "network") or ""
    held = network.get("config", network) if isinstance(network, dict) else network
    if not isinstance(held, dict):
        raise ExtraValueInvalid("guestinfo.metadata", "what it is", "its network must be a mapping or an encoded one")
    return json.dumps(held, default=str)


def told(config: Mapping[str, Value], *, firmware: str) -> dict[str, str]:
    """Names on the firmware's configuration device and what they hold."""
    found = {f"opt/naos/{key}": str(value) for key, value in config.items() if key in TEXTS}
    text = ignition(config)
    if text is not None:
        found["opt/com.coreos/config"] = text
    size = config.get(WINDOW_SIZE)
    if firmware == "efi" and config.get(LARGE_WINDOW) is True and size is not None:
        found["opt/ovmf/X-PciMmio64Mb"] = str(int(size) * 1024)
    return found
