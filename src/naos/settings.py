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
    download_namespace: file of the network namespace through which images are fetched; None is the controller's own.
    trusted_proxies: networks of the proxies whose `X-Forwarded-For` is believed.
    audit_months: how long entries of the audit log are kept.
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
    audit_months: int = 18

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
        trusted_proxies=_networks(os.environ.get("NAOS_TRUSTED_PROXIES", "")),
        download_namespace=Path(namespace) if (namespace := os.environ.get("NAOS_DOWNLOAD_NAMESPACE")) else None,
        audit_months=_months(os.environ.get("NAOS_AUDIT_MONTHS", "18")),
    )


def _networks(text: str) -> tuple[Network, ...]:
    """Networks or addresses, with commas between. Raises ValueError."""
    try:
        return tuple(parse_network(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(
            f"NAOS_TRUSTED_PROXIES is {text!r}, and {error}; write networks such as 10.0.0.0/24, 2001:db8::7"
        ) from error


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
