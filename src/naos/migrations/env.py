"""Alembic's entry: runs the migrations on the engine that `migrations.upgrade` hands over."""

import sqlalchemy as sa
from alembic import context

from naos.database import Base

MIGRATION_LOCK = 0x6E616F74  # beside the number of `activity.locks`

engine: sa.Engine = context.config.attributes["engine"]
with engine.connect() as connection:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
        connection.commit()
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, user_module_prefix="naos_types."
    )
    with context.begin_transaction():
        context.run_migrations()
    if connection.in_transaction():
        connection.commit()
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_unlock(MIGRATION_LOCK)))
        connection.commit()
