"""The controller's settings: the only singleton, read once from the environment."""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from naos.addresses import Network, parse_network


@dataclass(frozen=True)
class Settings:
    """Where the controller keeps its things and how it is reached.

    home: folder of the controller's own files (database, keys, content library).
    database_url: SQLAlchemy URL; SQLite in `home` by default, PostgreSQL for several controllers.
    inventory: path of the platform's TOML file.
    credentials: where the first owner's token is written, as ``id:secret``.
    mac_prefix: the first three bytes of generated MAC addresses.
    download_namespace: file of the network namespace through which images are fetched; None is the controller's own.
    trusted_proxies: networks of the proxies whose `X-Forwarded-For` is believed.
    public_url: how browsers reach the API, without a slash at the end; None is the address that each of them asks for.
    login_authorities: PEM file of further authorities that identity providers' certificates are checked with.
    audit_months: how long entries of the audit log are kept. shortest_replication: seconds, the shortest interval of a machine's
    replica that tenants may choose.
    volume_keys: file of the master keys that wrap those of encrypted volumes; None: there are no such volumes.
    kmip_certificates: folder with what key servers that the file names are met with; None: it names none.
    notice_networks: what notices may go to beside public addresses. notice_authorities: PEM file of further authorities that the
    certificates there are checked with.
    snapshot_days, snapshot_percent: from which age on, and from which share of the free space on a snapshot is warned of; 0: never.
    migration_bandwidth, migration_downtime, migration_patience: bytes a second, milliseconds, seconds; see
    `engines.ports.MigrationLimits`.
    requests_per_second: what one client may send to one product of the API (logins: a fifth of it); None is unlimited.
    """

    home: Path
    database_url: str
    inventory: Path
    token_lifetime_seconds: int
    credentials: Path
    requests_per_second: float | None = 25.0
    trusted_proxies: tuple[Network, ...] = ()
    download_namespace: Path | None = None
    mac_prefix: str = "02:4e:00"
    audit_months: int = 18
    shortest_replication: int = 3600
    public_url: str | None = None
    login_authorities: Path | None = None
    volume_keys: Path | None = None
    notice_networks: tuple[Network, ...] = ()
    notice_authorities: Path | None = None
    kmip_certificates: Path | None = None
    snapshot_days: int = 3
    snapshot_percent: int = 25
    migration_bandwidth: int | None = None
    migration_downtime: int = 300
    migration_patience: float | None = 120.0

    @property
    def library(self) -> Path:
        return self.home / "library"


@cache
def settings() -> Settings:
    home = Path(os.environ.get("NAOS_HOME", "/var/lib/naos/controller"))
    return Settings(
        home=home,
        database_url=os.environ.get("NAOS_DATABASE_URL", f"sqlite:///{home}/naos.db"),
        inventory=Path(os.environ.get("NAOS_INVENTORY", str(home / "inventory.toml"))),
        token_lifetime_seconds=int(os.environ.get("NAOS_TOKEN_LIFETIME", "1800")),
        credentials=Path(os.environ.get("NAOS_CREDENTIALS", str(home.parent / "credentials"))),
        requests_per_second=_rate(os.environ.get("NAOS_RATE_LIMIT", "25")),
        trusted_proxies=_networks("NAOS_TRUSTED_PROXIES"),
        notice_networks=_networks("NAOS_NOTICE_NETWORKS"),
        notice_authorities=Path(file) if (file := os.environ.get("NAOS_NOTICE_AUTHORITIES")) else None,
        mac_prefix=_mac_prefix(os.environ.get("NAOS_MAC_PREFIX", "02:4e:00")),
        download_namespace=Path(namespace) if (namespace := os.environ.get("NAOS_DOWNLOAD_NAMESPACE")) else None,
        public_url=_url(os.environ.get("NAOS_PUBLIC_URL", "")),
        login_authorities=Path(file) if (file := os.environ.get("NAOS_LOGIN_AUTHORITIES")) else None,
        volume_keys=Path(file) if (file := os.environ.get("NAOS_VOLUME_KEYS")) else None,
        kmip_certificates=Path(folder) if (folder := os.environ.get("NAOS_KMIP_CERTIFICATES")) else None,
        migration_bandwidth=_whole("NAOS_MIGRATION_BANDWIDTH", "MiB a second, 0 for no limit", "0") * 2**20 or None,
        migration_downtime=max(1, _whole("NAOS_MIGRATION_DOWNTIME", "milliseconds, from 1", "300")),
        migration_patience=float(_whole("NAOS_MIGRATION_PATIENCE", "seconds, 0 for no post-copy", "120")) or None,
        snapshot_days=_whole("NAOS_SNAPSHOT_DAYS", "days, 0 for never", "3"),
        snapshot_percent=_whole("NAOS_SNAPSHOT_PERCENT", "per cent, 0 for never", "25"),
        audit_months=_months(os.environ.get("NAOS_AUDIT_MONTHS", "18")),
        shortest_replication=_minutes(os.environ.get("NAOS_SHORTEST_REPLICATION", "60")) * 60,
    )


def _networks(name: str) -> tuple[Network, ...]:
    """Networks or addresses, with commas between. Raises ValueError."""
    text = os.environ.get(name, "")
    try:
        return tuple(parse_network(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{name} is {text!r}, and {error}; write networks such as 10.0.0.0/24, 2001:db8::7") from error


def _url(text: str) -> str | None:
    """Scheme and host alone. Raises ValueError."""
    if text and not re.fullmatch(r"https?://[^/?#\s@]+", text):
        raise ValueError(
            f"NAOS_PUBLIC_URL is {text!r}; write scheme and host alone, for example https://cloud.example.org"
        )
    return text or None


def _minutes(text: str) -> int:
    """1 to 1440. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,4}", text.strip()) or not 1 <= int(text) <= 1440:
        raise ValueError(f"NAOS_SHORTEST_REPLICATION is {text!r}; write minutes, 1 to 1440; 60 is the offer's")
    return int(text)


def _months(text: str) -> int:
    """6 months or more. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,4}", text.strip()) or int(text) < 6:
        raise ValueError(f"NAOS_AUDIT_MONTHS is {text!r}; the audit log is kept for 6 months at least, 18 by default")
    return int(text)


def _rate(text: str) -> float | None:
    """``off``, or requests a second. Raises ValueError."""
    if text.strip().lower() == "off":
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", text.strip()) or float(text) == 0:
        raise ValueError(f"NAOS_RATE_LIMIT is {text!r}; write `off` or the requests a second, for example 25")
    return float(text)


def _mac_prefix(text: str) -> str:
    """Three bytes of an address that is no group's. Raises ValueError."""
    prefix = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){2}", prefix) or int(prefix[:2], 16) & 1:
        raise ValueError(f"NAOS_MAC_PREFIX is {text!r}; write three bytes such as 02:4e:00, the first one even")
    return prefix


def _whole(name: str, unit: str, default: str) -> int:
    """Raises ValueError."""
    text = os.environ.get(name, default)
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise ValueError(f"{name} is {text!r}; write a whole number of {unit}")
    return int(text)
