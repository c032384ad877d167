"""Projects of Label Studio: where they live, what was asked for them, and what jobs have taken away there."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "label_studio_projects",
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("project_key", sa.Text(), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_label_studio_projects_task_id_tasks"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_label_studio_projects")),
        sa.UniqueConstraint("project_key", name=op.f("uq_label_studio_projects_project_key")),
    )
    op.create_table(
        "label_studio_backends",
        sa.Column("task_id", _ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("label_config", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("job_id", _ID, nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("fk_label_studio_backends_task_id_tasks"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_label_studio_backends_job_id_jobs"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("task_id", "name", name=op.f("pk_label_studio_backends")),
    )
    op.create_table(
        "label_studio_replaced",
        sa.Column("id", _ID, nullable=False),
        sa.Column("job_id", _ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_label_studio_replaced_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_studio_replaced")),
    )
    op.create_index(op.f("ix_label_studio_replaced_job_id"), "label_studio_replaced", ["job_id"], unique=False)
