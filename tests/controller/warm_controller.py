"""What the server that forks controllers has ready: everything imported, and every route read, which takes over a second."""

import gc

import crash_matrix  # noqa: F401 - ready for every fork
import sqlalchemy.orm

from naos.api import app

for room in ("models", "activities", "routes"):
    app.area_modules(room)
app._routes()
sqlalchemy.orm.configure_mappers()
gc.freeze()
