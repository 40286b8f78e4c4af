"""Tables of the catalogue: content libraries, their items with their disks, uploads and exports."""

from datetime import UTC, datetime
from typing import Any

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
    """An item of a library: an appliance that machines are cloned from, or an ISO image.

    type: ``ovf`` (bootable disks, whatever format they came in) or ``iso``. size: bytes of the kept files. virtual_size: bytes of
    the first disk. checksum: ``sha256:...`` of the first kept file. source: the format that it came in. descriptor: the virtual
    hardware, networks and properties that the item declares (`ovf.descriptor.Descriptor` as JSON); empty for a bare image.
    warnings: what should be thought about, as sentences.
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
    descriptor: Mapped[dict[str, Any]] = mapped_column(default=dict)
    warnings: Mapped[list[str]] = mapped_column(default=list)
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
    updated_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class TemplateDisk(Identified, Base):
    """A disk of an item; its file in the library is named by its id, and so is its base on a volume. The first disk of an item has
    the item's own id.

    capacity: bytes of the disk. size: bytes of the kept file. populated: bytes that the file really takes. controller: id in the
    item's descriptor, or empty.
    """

    __tablename__ = "template_disks"
    __table_args__ = (sa.UniqueConstraint("template_id", "position"),)
    template_id: Mapped[str] = mapped_column(sa.ForeignKey("templates.id"), index=True)
    position: Mapped[int]
    name: Mapped[str] = mapped_column(sa.String(255))
    controller: Mapped[str] = mapped_column(sa.String(64), default="")
    capacity: Mapped[int]
    size: Mapped[int]
    populated: Mapped[int]
    checksum: Mapped[str] = mapped_column(sa.String(160))


class Export(Identified, Base):
    """An OVA made from a machine or an item, for its tenant to fetch; its file is named by its id. size: bytes."""

    __tablename__ = "exports"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    name: Mapped[str] = mapped_column(sa.String(255))
    source_id: Mapped[str] = mapped_column(sa.String(36))
    source_type: Mapped[str] = mapped_column(sa.String(32))
    size: Mapped[int] = mapped_column(default=0)
    checksum: Mapped[str] = mapped_column(sa.String(160), default="")
    lifecycle: Mapped[str] = mapped_column(sa.String(16), default=Lifecycle.CREATING)
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))


class Upload(Identified, Base):
    """A file that a client has sent and no template has taken yet."""

    __tablename__ = "uploads"
    tenant_id: Mapped[str] = mapped_column(sa.String(36), index=True)
    size: Mapped[int]
    sha256: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(default=lambda: datetime.now(UTC))
