"""The table of tags."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base
from naos.tags.rules import LONGEST_KEY


class Tag(Base):
    """One value of one key of an object. `resource_type`: the kind of the object, as `kinds` names it."""

    __tablename__ = "tags"
    resource_id: Mapped[str] = mapped_column(sa.String(36), primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(LONGEST_KEY), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    resource_type: Mapped[str] = mapped_column(sa.String(64))
    value: Mapped[str] = mapped_column(sa.Text)
    changed_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
