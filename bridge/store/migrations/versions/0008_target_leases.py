"""Who writes to a target in another tool now."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "target_leases",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_target_leases_job_id_jobs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("target", name="pk_target_leases"),
    )
    op.create_index("ix_target_leases_job_id", "target_leases", ["job_id"])
