"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, and the state of an empty log."""
    _make_certificate()
    _make_counter()
    _make_estate_certificate()
    _make_estate_release()
    _make_estate_source()
    _make_feed_entry()
    _make_instance()
    _make_intent()
    _make_log_entry()
    _make_log_state()
    _make_log_tile()
    _make_published()
    _make_sign_request()
    _make_sign_usage()
    _make_revocation()
    _make_sign_approval()
    state = sa.table("log_state", sa.column("id"), sa.column("size"), sa.column("frontier"))
    op.bulk_insert(state, [{"id": 1, "size": 0, "frontier": b""}])


def downgrade() -> None:
    """Refuse: there is nothing before."""
    raise NotImplementedError


def _make_certificate() -> None:
    op.create_table(
        "certificate",
        sa.Column("issuer", sa.String(length=100), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("spki_digest", sa.LargeBinary(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("profile", sa.String(length=60), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("issued", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("issuer", "serial", name=op.f("pk_certificate")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_certificate_fingerprint")),
    )
    op.create_index("certificate_by_end", "certificate", ["not_after"], unique=False)
    op.create_index("certificate_by_key", "certificate", ["spki_digest"], unique=False)


def _make_counter() -> None:
    op.create_table(
        "counter",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("next", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )


def _make_estate_certificate() -> None:
    op.create_table(
        "estate_certificate",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("serial", sa.String(length=64), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("key_kind", sa.String(length=40), nullable=False),
        sa.Column("quantum_safe", sa.Integer(), nullable=False),
        sa.Column("trust", sa.String(length=20), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("key_location", sa.Text(), nullable=False),
        sa.Column("added", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_estate_certificate")),
    )
    op.create_index("estate_certificate_by_end", "estate_certificate", ["not_after"], unique=False)


def _make_estate_release() -> None:
    op.create_table(
        "estate_release",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("timestamped", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "name", name=op.f("pk_estate_release")),
    )


def _make_estate_source() -> None:
    op.create_table(
        "estate_source",
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=512), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", "source", name=op.f("pk_estate_source")),
    )


def _make_feed_entry() -> None:
    op.create_table(
        "feed_entry",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feed_entry")),
    )


def _make_instance() -> None:
    op.create_table(
        "instance",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
    )


def _make_intent() -> None:
    op.create_table(
        "intent",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("instance", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=40), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_intent")),
    )
    op.create_index("intent_by_instance", "intent", ["instance"], unique=False)


def _make_log_entry() -> None:
    op.create_table(
        "log_entry",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_log_entry")),
    )


def _make_log_state() -> None:
    op.create_table(
        "log_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_state")),
    )


def _make_log_tile() -> None:
    op.create_table(
        "log_tile",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "position", name=op.f("pk_log_tile")),
    )


def _make_published() -> None:
    op.create_table(
        "published",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_published")),
    )


def _make_sign_request() -> None:
    op.create_table(
        "sign_request",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("idempotency", sa.String(length=64), nullable=False),
        sa.Column("asked", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("format", sa.String(length=40), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("content", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("algorithm", sa.String(length=60), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("entry", sa.LargeBinary(), nullable=True),
        sa.Column("floor", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_request")),
        sa.UniqueConstraint(
            "key",
            "requester",
            "idempotency",
            name=op.f("uq_sign_request_key_requester_idempotency"),
        ),
    )
    op.create_index("sign_request_by_state", "sign_request", ["state", "expires"], unique=False)
    op.create_index("sign_request_by_time", "sign_request", ["at"], unique=False)


def _make_sign_usage() -> None:
    op.create_table(
        "sign_usage",
        sa.Column("key", sa.String(length=100), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "seconds", "start", name=op.f("pk_sign_usage")),
    )


def _make_revocation() -> None:
    op.create_table(
        "revocation",
        sa.Column("issuer", sa.String(length=100), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Integer(), nullable=False),
        sa.Column("invalidity", sa.BigInteger(), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["issuer", "serial"],
            ["certificate.issuer", "certificate.serial"],
            name=op.f("fk_revocation_certificate"),
        ),
        sa.PrimaryKeyConstraint("issuer", "serial", name=op.f("pk_revocation")),
    )


def _make_sign_approval() -> None:
    op.create_table(
        "sign_approval",
        sa.Column("request", sa.String(length=32), nullable=False),
        sa.Column("approver", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["request"],
            ["sign_request.id"],
            name=op.f("fk_sign_approval_sign_request"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("request", "approver", name=op.f("pk_sign_approval")),
    )
