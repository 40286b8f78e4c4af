"""The way between blades and arrays: are the certificates there, good for a while, and the right host's?"""

import re
from collections.abc import Sequence

from naos.engines.check.report import Look, said
from naos.inventory.model import Array

LEFT_DAYS = 30
_DEFAULT, _OWN = "/etc/pki/qemu", "/etc/pki/libvirt-nbd"
_SETTING = re.compile(r'^\s*(nbd|default)_tls_x509_cert_dir\s*=\s*"([^"]+)"', re.MULTILINE)
_MAKE = "make them with `naos inventory certificates`"


def array(look: Look, wanted: Array) -> None:
    with look.topic("tls"):
        if wanted.tls is not None:
            _pair(look, wanted.tls, "server", wanted.name)
            _pair(look, wanted.tls, "client", wanted.name)
        elif look.real:
            look.fault(
                "tls",
                "Disks would go over the network in clear, to whoever asks for them: give it `tls`, the folder of its "
                f"certificates, and {_MAKE}. Only a lab does without.",
            )
        else:
            look.remarks.append("Disks go over the network in clear, as in a lab; a rack's arrays have `tls`.")


def blade(look: Look, name: str, arrays: Sequence[Array]) -> None:
    """arrays: those of its zone."""
    if any(wanted.tls is not None for wanted in arrays):
        with look.topic("tls"):
            if look.host is not None:
                _pair(look, _folder(look), "client", name)


def _folder(look: Look) -> str:
    """Where the blade's libvirt looks for what its disks present, as its documentation has it."""
    found = dict(_SETTING.findall(look.run("cat", "/etc/libvirt/qemu.conf").stdout))
    if "nbd" in found:
        return str(found["nbd"])
    return _OWN if look.succeeds("test", "-d", _OWN) else str(found.get("default", _DEFAULT))


def _pair(look: Look, folder: str, purpose: str, name: str) -> None:
    files = {word: f"{folder}/{word}.pem" for word in (f"{purpose}-cert", f"{purpose}-key", "ca-cert")}
    absent = [path for path in files.values() if not look.succeeds("test", "-r", path)]
    if absent:
        look.fault(
            "tls", f"It has no {', '.join(absent)}, which disks over TLS need: {_MAKE}, and copy its folder there."
        )
        return
    seconds = LEFT_DAYS * 86400
    shown = ("-noout", "-subject", "-nameopt", "RFC2253", "-checkend", str(seconds))
    done = look.run("openssl", "x509", *shown, "-in", files[f"{purpose}-cert"])
    subject = re.search(r"^subject=(.*)$", done.stdout, re.MULTILINE)
    if subject is None:
        look.fault("tls", f"{files[f'{purpose}-cert']} cannot be read: {said(done)}")
    elif subject[1].strip() != f"CN={name}":
        look.fault(
            "tls", f"{files[f'{purpose}-cert']} is of {subject[1]}, and this is {name}: it has another host's folder."
        )
    elif done.code != 0:
        look.fault(
            "tls", f"{files[f'{purpose}-cert']} ends within {LEFT_DAYS} days: {_MAKE}, and copy its folder there."
        )
