"""Tables of the catalogue: content libraries, their templates, and uploads on their way in."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from naos.database import Base, Identified
from naos.lifecycle import Lifecycle


class Library(Identified, Base):
    """A content library of a tenant."""

    __tablename__ = "libraries"
    __table_args__ = (sa.UniqueConstraint("tenant_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))


class Template(Identified, Base):
    """An image that machines are cloned from; its file in the library is named by its id.

    type: ``ovf`` (a bootable disk image, whatever format it came in) or ``iso``. Sizes in bytes. checksum: ``sha256:...`` of the
    kept file. source: the format that it came in.
    """

    __tablename__ = "templates"
    __table_args__ = (sa.UniqueConstraint("library_id", "name"),)
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    library_id: Mapped[str] = mapped_column(sa.ForeignKey("libraries.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    description: Mapped[str] = mapped_column(sa.Text, default="")
    type: Mapped[str] = mapped_column(sa.String(8), default="ovf")
    source: Mapped[str] = mapped_column(sa.String(16), default="")
    size: Mapped[int] = mapped_column(default=0)
    virtual_size: Mapped[int] = mapped_column(default=0)
    checksum: Mapped[str] = mapped_column(sa.String(160), default="")
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class Upload(Identified, Base):
    """A file that a client has sent and no template has taken yet."""

    __tablename__ = "uploads"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    size: Mapped[int]
    sha256: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
