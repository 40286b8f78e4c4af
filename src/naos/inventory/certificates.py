"""Certificates for the way between blades and arrays: one authority of the platform, and a folder for each host.

A host is told by the name that the inventory gives it, as the common name; an array also by its address, where clients meet it.
"""

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from naos.inventory.model import Inventory

AUTHORITY_YEARS, HOST_DAYS = 10, 825
RENEWED = timedelta(days=90)
"""A host's certificate that ends sooner is made anew."""
_AUTHORITY = ("ca-cert.pem", "ca-key.pem")
_GROUP = files("naos").joinpath("data", "ffdhe2048.pem")
"""RFC 7919. A storage daemon that finds no group beside its certificate searches for a prime number at every start, for seconds."""


@dataclass(frozen=True)
class Issued:
    """A host's folder. purposes: what was written anew, `server` or `client`; none when it had all."""

    host: str
    folder: Path
    purposes: tuple[str, ...]


def issue(inventory: Inventory, folder: Path) -> Iterator[Issued]:
    """Bring `folder` to what the inventory needs: the authority, made once, and a folder for each blade and array. What is there
    and good for 90 days stays. Raises OSError, ValueError."""
    authority = _authority(folder)
    for blade in inventory.blades:
        yield _host(authority, folder / "blades" / blade.name, blade.name, {"client": None})
    for array in inventory.arrays:
        purposes = {"server": str(array.address), "client": None}
        yield _host(authority, folder / "arrays" / array.name, array.name, purposes)


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _authority(folder: Path) -> _Authority:
    certificate_file, key_file = (folder / name for name in _AUTHORITY)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if key_file.exists() and certificate_file.exists():
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file} holds a key of another kind than naos makes")
        return _Authority(x509.load_pem_x509_certificate(certificate_file.read_bytes()), key)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "naos storage network")])
    made = (
        _lasting(x509.CertificateBuilder(), timedelta(days=365 * AUTHORITY_YEARS))
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_key(key_file, key)
    _write(certificate_file, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return _Authority(made, key)


def _host(authority: _Authority, folder: Path, name: str, purposes: dict[str, str | None]) -> Issued:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(folder / "ca-cert.pem", authority.certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    made = []
    for purpose, address in purposes.items():
        certificate_file, key_file = folder / f"{purpose}-cert.pem", folder / f"{purpose}-key.pem"
        if key_file.exists() and _good(authority, certificate_file, name, address):
            continue
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(authority, key, name, purpose, address)
        _write_key(key_file, key)
        _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        made.append(purpose)
    if "server" in purposes:
        _write(folder / "dh-params.pem", _GROUP.read_bytes(), 0o644)
    return Issued(name, folder, tuple(made))


def _good(authority: _Authority, file: Path, name: str, address: str | None) -> bool:
    if not file.exists():
        return False
    present = x509.load_pem_x509_certificate(file.read_bytes())
    try:
        present.verify_directly_issued_by(authority.certificate)
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False
    addresses = {str(found) for found in names.get_values_for_type(x509.IPAddress)}
    lasts = present.not_valid_after_utc > datetime.now(UTC) + RENEWED
    return lasts and names.get_values_for_type(x509.DNSName) == [name] and addresses == ({address} - {None})


def _certificate(
    authority: _Authority, key: ec.EllipticCurvePrivateKey, name: str, purpose: str, address: str | None
) -> x509.Certificate:
    known: list[x509.GeneralName] = [x509.DNSName(name)]
    if address is not None:
        known.append(x509.IPAddress(ipaddress.ip_address(address)))
    use = ExtendedKeyUsageOID.SERVER_AUTH if purpose == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
    return (
        _lasting(x509.CertificateBuilder(), timedelta(days=HOST_DAYS))
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.SubjectAlternativeName(known), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def _lasting(builder: x509.CertificateBuilder, time: timedelta) -> x509.CertificateBuilder:
    """An hour in the past is allowed for clocks that differ."""
    now = datetime.now(UTC)
    number = x509.random_serial_number()
    return builder.serial_number(number).not_valid_before(now - timedelta(hours=1)).not_valid_after(now + time)


def _usage(*, signs: bool) -> x509.KeyUsage:
    """QEMU 10.0 wants key encipherment of every host, though no key of this kind does any."""
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=not signs,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    plain = serialization.NoEncryption()
    _write(file, key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain), 0o600)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole under its name, or not at all."""
    part = file.with_name(f"{file.name}.new")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(handle)
    part.replace(file)
