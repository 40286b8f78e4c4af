"""What may be done with VLANs and adapters: pure functions of plain values."""

import re
from collections.abc import Set as AbstractSet
from typing import Literal

from naos.network.errors import MacInvalid, TagInvalid, TagsExhausted, TagTaken

LOWEST_TAG, FIRST_TAG, LAST_TAG = 2, 100, 4094
"""What may be asked for, what is given first, and the last one; 0, 1 and 4095 have meanings of their own in IEEE 802.1Q."""
MAC_PREFIX = "02:4e:00"
"""Where generated MACs begin unless the settings say otherwise; locally administered."""
ADAPTERS_PER_MACHINE = 10  # vSphere's limit, which the offer inherits
AdapterType = Literal["VMXNET3", "E1000", "E1000E"]
MODELS = {"VMXNET3": "virtio", "E1000": "e1000", "E1000E": "e1000e"}
"""What the guest gets. The paravirtual adapter is virtio here: it alone tells the guest the network's MTU."""
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


def free_tag(taken: AbstractSet[int], wanted: int | None = None) -> int:
    """The tag to give: `wanted` when it is free, else the lowest free one. Raises TagInvalid, TagTaken, TagsExhausted."""
    if wanted is not None and not LOWEST_TAG <= wanted <= LAST_TAG:
        raise TagInvalid(wanted, LOWEST_TAG, LAST_TAG)
    free = next((tag for tag in range(FIRST_TAG, LAST_TAG + 1) if tag not in taken), None)
    if wanted is not None and wanted not in taken:
        return wanted
    if free is None:
        raise TagsExhausted(LAST_TAG - FIRST_TAG + 1, FIRST_TAG, LAST_TAG)
    if wanted is not None:
        raise TagTaken(wanted, free)
    return free


def check_mac(mac: str) -> str:
    """The MAC's key (lower case) for comparing. Raises MacInvalid."""
    if not _MAC.fullmatch(mac):
        raise MacInvalid(mac[:40], "it is not six hexadecimal bytes with colons")
    key = mac.lower()
    if int(key[:2], 16) & 1:
        raise MacInvalid(mac, "its first byte marks a group (multicast) address")
    if key == "00:00:00:00:00:00":
        raise MacInvalid(mac, "it is all zero")
    return key


def mac_from(value: int, prefix: str = MAC_PREFIX) -> str:
    """A MAC of the range that begins with `prefix`, three bytes, from a random `value`."""
    tail = value & 0xFFFFFF
    return f"{prefix}:{tail >> 16:02x}:{tail >> 8 & 0xFF:02x}:{tail & 0xFF:02x}"
