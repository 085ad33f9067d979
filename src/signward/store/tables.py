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
    UniqueConstraint,
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

# --- the feed ----------------------------------------------------------------------------------

feed_entry = Table(  # what it revokes beside the authority's own certificates
    "feed_entry", metadata,
    Column("id", String(64), primary_key=True),  # SHA-256 of what it names, hexadecimal
    Column("kind", String(20), nullable=False),
    Column("body", LargeBinary, nullable=False),  # JSON of a trust.feed entry
    Column("at", BigInteger, nullable=False),
    Column("added_by", Text, nullable=False),
)  # fmt: skip

# --- the estate: certificates of whatever issuer that sign for the organisation ----------------

estate_certificate = Table(
    "estate_certificate", metadata,
    Column("fingerprint", String(64), primary_key=True),  # SHA-256, hexadecimal
    Column("subject", Text, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("serial", String(64), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("key_kind", String(40), nullable=False),
    Column("quantum_safe", Integer, nullable=False),
    Column("trust", String(20), nullable=False),
    Column("holder", Text, nullable=False),
    Column("key_location", Text, nullable=False),
    Column("added", BigInteger, nullable=False),
    Column("der", LargeBinary),  # none where only a scan's record tells of it
    Index("estate_certificate_by_end", "not_after"),
)  # fmt: skip

estate_source = Table(  # where a certificate was found
    "estate_source", metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("source", String(512), primary_key=True),
    Column("at", BigInteger, nullable=False),
)  # fmt: skip

estate_release = Table(  # files that hang on a certificate
    "estate_release", metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),  # SHA-256 of the file's name, hexadecimal
    Column("file", Text, nullable=False),
    Column("timestamped", BigInteger),  # the proven time, where there is one
    Column("at", BigInteger, nullable=False),
)  # fmt: skip

# --- the signing service -----------------------------------------------------------------------

sign_request = Table(  # what was asked for, under the idempotency key of whoever asked
    "sign_request", metadata,
    Column("id", String(32), primary_key=True),
    Column("key", String(100), nullable=False),  # its name in the settings
    Column("requester", Text, nullable=False),  # authority.access.Identity.unique
    Column("idempotency", String(64), nullable=False),
    Column("asked", LargeBinary, nullable=False),  # SHA-256 of the whole order
    Column("state", String(10), nullable=False),
    Column("format", String(40), nullable=False),
    Column("file", Text, nullable=False),
    Column("content", String(200), nullable=False),
    Column("digest", LargeBinary, nullable=False),  # SHA-256 of what is to be signed
    Column("algorithm", String(60), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("answer", LargeBinary),
    Column("entry", LargeBinary),  # leaf hash of the result's entry
    Column("floor", BigInteger),  # a position that entry does not stand before
    UniqueConstraint("key", "requester", "idempotency"),
    Index("sign_request_by_state", "state", "expires"),
    Index("sign_request_by_time", "at"),
)  # fmt: skip

sign_approval = Table(
    "sign_approval", metadata,
    Column("request", String(32), primary_key=True),
    Column("approver", Text, primary_key=True),
    Column("name", Text, nullable=False),  # as people read it
    Column("at", BigInteger, nullable=False),
    ForeignKeyConstraint(["request"], ["sign_request.id"], ondelete="CASCADE"),
)  # fmt: skip

sign_usage = Table(  # signatures by a key in a stretch of time
    "sign_usage", metadata,
    Column("key", String(100), primary_key=True),
    Column("seconds", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("count", BigInteger, nullable=False),
)  # fmt: skip
