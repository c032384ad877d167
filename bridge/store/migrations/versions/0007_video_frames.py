"""Frames of videos: where in their file they stand."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("frames", sa.Column("video_pts", sa.BigInteger(), nullable=True))
