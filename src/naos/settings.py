"""The controller's settings: the only singleton, read once from the environment."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """Where the controller keeps its things and how it is reached.

    home: folder of the controller's own files (database, keys, content library).
    database_url: SQLAlchemy URL; SQLite in `home` by default, PostgreSQL for several controllers.
    inventory: path of the platform's TOML file.
    """

    home: Path
    database_url: str
    inventory: Path
    token_lifetime_seconds: int

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
    )
