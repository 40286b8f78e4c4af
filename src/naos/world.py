"""What an activity may touch: the tables, the rack and the data files, handed to every step."""

from dataclasses import dataclass

from naos.database import Database
from naos.engines.ports import Rack
from naos.inventory.catalogues import BladeCatalogue, StorageCatalogue
from naos.inventory.model import Inventory
from naos.settings import Settings


@dataclass(frozen=True)
class World:
    database: Database
    rack: Rack
    inventory: Inventory
    blades: BladeCatalogue
    storage: StorageCatalogue
    settings: Settings
