"""Tables of the marketplace."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified


class MarketplaceItem(Identified, Base):
    """What every tenant may deploy: an item of a library of the platform's own, with its texts in French and English.

    icon: an address, or the image itself as a ``data:`` address. details: ``overview``, ``howToUse``, ``support`` and
    ``termsAndConditions`` each.
    """

    __tablename__ = "marketplace_items"
    __table_args__ = (sa.UniqueConstraint("name", "version", "build"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    template_id: Mapped[str] = mapped_column(sa.ForeignKey("templates.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    editor: Mapped[str] = mapped_column(sa.String(255))
    icon: Mapped[str] = mapped_column(sa.Text, default="")
    description: Mapped[str] = mapped_column(sa.Text, default="")
    description_en: Mapped[str] = mapped_column(sa.Text, default="")
    categories: Mapped[list[str]] = mapped_column(default=list)
    version: Mapped[str] = mapped_column(sa.String(64))
    build: Mapped[str] = mapped_column(sa.String(64), default="")
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)
    details_en: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
