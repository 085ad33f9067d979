"""Every table, in one place; the migrations make what stands here."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

NAMES = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
}
"""How constraints are called: a migration that changes one must name it."""

metadata = MetaData(naming_convention=NAMES)

# --- the log -----------------------------------------------------------------------------

log_state = Table(
    "log_state", metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # the one row is number 1
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)  # fmt: skip

log_entry = Table(
    "log_entry", metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
)  # fmt: skip

log_tile = Table(  # full tiles only: 256 hashes in a row
    "log_tile", metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)  # fmt: skip

# --- numbers, instants and documents that outlive a process -----------------------------------

counter = Table(
    "counter", metadata,
    Column("name", String(200), primary_key=True),
    Column("next", BigInteger, nullable=False),
)  # fmt: skip

published = Table(  # the current CRL of each authority, the current feed
    "published", metadata,
    Column("name", String(200), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
)  # fmt: skip

instance = Table(  # the processes that share this database
    "instance", metadata,
    Column("id", String(64), primary_key=True),
    Column("started", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
)  # fmt: skip

intent = Table(  # what was begun and has no result yet
    "intent", metadata,
    Column("id", String(64), primary_key=True),
    Column("instance", String(64), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("intent_by_instance", "instance"),
)  # fmt: skip

# --- certificates ------------------------------------------------------------------------------

certificate = Table(
    "certificate", metadata,
    Column("issuer", String(100), primary_key=True),  # the name of the authority in the settings
    Column("serial", String(40), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False, unique=True),  # SHA-256
    Column("spki_digest", LargeBinary, nullable=False),  # SHA-256
    Column("subject", Text, nullable=False),
    Column("profile", String(60), nullable=False),
    Column("holder", Text, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued", BigInteger, nullable=False),
    Column("der", LargeBinary, nullable=False),
    Index("certificate_by_end", "not_after"),
    Index("certificate_by_key", "spki_digest"),
)  # fmt: skip

revocation = Table(
    "revocation", metadata,
    Column("issuer", String(100), primary_key=True),
    Column("serial", String(40), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("reason", Integer, nullable=False),  # CRLReason (RFC 5280 5.3.1)
    Column("invalidity", BigInteger),
    Column("revoked_by", Text, nullable=False),
    ForeignKeyConstraint(["issuer", "serial"], ["certificate.issuer", "certificate.serial"]),
)  # fmt: skip
