"""Internet addresses and networks as people and proxies write them."""

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_address(text: str) -> Address | None:
    """The address, or None for what is none. IPv4 inside IPv6 (`::ffff:192.0.2.1`) is that IPv4; no zone is kept."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def parse_network(text: str) -> Network:
    """The network `10.0.0.0/8` or `2001:db8::/32`; one address is a network of its own. Raises ValueError."""
    return ipaddress.ip_network(text.strip())


def contains(networks: Iterable[Network], address: Address) -> bool:
    return any(address.version == network.version and address in network for network in networks)
