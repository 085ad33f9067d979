"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Make the change."""
    ${upgrades}


def downgrade() -> None:
    """Refuse: what a newer version has written would be lost."""
    raise NotImplementedError
