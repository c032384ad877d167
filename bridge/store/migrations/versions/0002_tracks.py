"""Shapes of several frames that show one object share a track."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("shapes", sa.Column("track_id", sa.Integer(), nullable=False, server_default="0"))
