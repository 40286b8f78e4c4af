"""What a host's network must have: its addresses, room for packets, and the kinds of interfaces that VLANs are made of."""

import ipaddress
import json
from typing import Any

from naos.engines.check.report import Look, said
from naos.engines.fabric import guarding, plan
from naos.inventory.model import Array, Fabric

_HEADERS = {4: 50, 6: 70}  # bytes of a tunnel's headers
_REFUSED = "refused"
# Opens and closes a connection, with what every Linux has.
_KNOCK = ': <"/dev/tcp/$0/$1"'
_KNOCK_SECONDS = 5


def links(look: Look) -> list[dict[str, Any]]:
    """Every interface of the host, as `ip -json address` describes it."""
    done = look.run("ip", "-json", "address")
    try:
        found = json.loads(done.stdout or "[]")
    except ValueError:
        return []
    return [link for link in found if link.get("ifname")]


def address(look: Look, wanted: str, word: str) -> dict[str, Any] | None:
    """The interface that has the address. word: its key in the inventory."""
    with look.topic("network"):
        found = links(look)
        own = [link for link in found if wanted in {_plain(entry) for entry in link.get("addr_info", [])}]
        if not own:
            present = ", ".join(_plain(entry) for link in found for entry in link.get("addr_info", []))
            look.fault(
                "network",
                f"No interface has {wanted}, which the inventory gives it as `{word}`; it has {present or 'none'}. "
                "Mend one of the two.",
            )
            return None
        if not _is_up(own[0]):
            look.fault("network", f"{own[0]['ifname']}, which has {wanted}, is down; switch it on or plug it in.")
        return own[0]
    return None


def has_address(look: Look, wanted: str) -> None:
    """That it is the host at the address which the inventory gives it."""
    address(look, wanted, "address")


def fabric(look: Look, wanted: Fabric) -> None:
    """A blade's way to the VLANs."""
    if wanted.driver == "vxlan":
        _tunnels(look, str(wanted.address), wanted.mtu)
    else:
        _trunk(look, wanted.device, wanted.mtu)
    _interfaces(look, wanted.driver)


def _tunnels(look: Look, own: str, mtu: int) -> None:
    link = address(look, own, "fabric.address")
    if link is None:
        return
    needed = mtu + _HEADERS[ipaddress.ip_address(own).version]
    look.facts |= {"device": link["ifname"], "mtu": link.get("mtu", 0)}
    if link.get("mtu", 0) < needed:
        look.fault(
            "mtu",
            f"{link['ifname']} carries packets of {link.get('mtu', 0)} bytes, and tunnels for guests' {mtu} need "
            f"{needed}: raise its MTU, or write `mtu = {link.get('mtu', 0) - needed + mtu}` in the inventory.",
        )


def _trunk(look: Look, device: str, mtu: int) -> None:
    with look.topic("network"):
        found = {link["ifname"]: link for link in links(look)}
        link = found.get(device)
        if link is None:
            look.fault(
                "network", f"There is no interface {device} for the trunk; it has {', '.join(found)}. Mend `device`."
            )
            return
        look.facts |= {"device": device, "mtu": link.get("mtu", 0)}
        if not _is_up(link):
            look.fault("network", f"The trunk {device} is down; switch it on and plug it in.")
        if link.get("mtu", 0) < mtu:
            look.fault(
                "mtu", f"{device} carries packets of {link.get('mtu', 0)} bytes, guests' have {mtu}; raise its MTU."
            )


def _interfaces(look: Look, driver: str) -> None:
    """Really made, in a network namespace that ends with the command: the host's own network never sees them."""
    kinds = {"bridge": ["link add name nv1 type bridge"]}
    if driver == "vxlan":
        kinds["vxlan"] = [f"link add name nx1 {plan.tunnel(1, '127.0.0.1').arguments}"]
    else:
        kinds["8021q"] = [
            "link add name d0 type veth peer name d1",
            f"link add link d0 name d0.1 {plan.subinterface(1, 'd0').arguments}",
        ]
    with look.topic("network"):
        for module, lines in kinds.items():
            done = look.run("unshare", "--net", "--", "ip", "-batch", "-", stdin="\n".join([*lines, ""]))
            if done.code != 0:
                look.fault(
                    "network", f"Its kernel makes no interfaces of module {module} ({said(done)}): modprobe {module}"
                )
        rules = plan.seal_text("lo") + guarding.text(guarding.NOTHING)
        done = look.run("unshare", "--net", "--", "nft", "-f", "-", stdin=rules)
        if done.code != 0:
            look.fault(
                "network",
                f"nftables takes no rule that keeps guests away from the host itself and to their own addresses ({said(done)}); "
                "install nftables, on a kernel with its families netdev and bridge.",
            )


def reaches(look: Look, arrays: list[Array]) -> None:
    """Does the blade reach the arrays of its zone? That nobody listens yet is an answer too."""
    with look.topic("storage"):
        for array in arrays:
            done = look.run(
                *("env", "LC_ALL=C", "timeout", str(_KNOCK_SECONDS), "bash", "-c", _KNOCK),
                *(str(array.address), str(array.first_port)),
                timeout=_KNOCK_SECONDS + 5,
            )
            if done.code != 127:  # there is no bash, so nothing is known
                look.reaches[array.name] = done.code == 0 or _REFUSED in done.stderr


def _plain(entry: dict[str, Any]) -> str:
    return str(ipaddress.ip_address(entry["local"])) if "local" in entry else ""


def _is_up(link: dict[str, Any]) -> bool:
    """Switched on, with somebody at the far end."""
    return {"UP", "LOWER_UP"} <= set(link.get("flags", []))
