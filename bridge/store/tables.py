"""The tables. What they mean stands in docs/architecture.md; how they came to be, in ``migrations/versions``."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in an INTEGER primary key.
_Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_Time = sa.Double  # seconds since 1970, UTC

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("revision", sa.Text, nullable=False),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("card", sa.Text, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("fetched", sa.Boolean, nullable=False, default=False),
    sa.Column("created_at", _Time, nullable=False),
    sa.UniqueConstraint("reference", "revision", "engine"),
)

connections = sa.Table(
    "connections",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),  # encrypted
    sa.Column("created_at", _Time, nullable=False),
    sa.UniqueConstraint("kind", "host"),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("frame_count", sa.Integer, nullable=False, default=0),
    sa.Column("shape_count", sa.Integer, nullable=False, default=0),  # counting two million rows takes a second
    sa.Column("remote_kind", sa.Text),
    sa.Column("remote_ref", sa.Text),
    sa.Column("created_at", _Time, nullable=False),
)

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("color", sa.Text, nullable=False),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("sublabels", sa.JSON, nullable=False),
    sa.UniqueConstraint("task_id", "name"),
)

frames = sa.Table(
    "frames",
    metadata,
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("remote_state", sa.Text),
    sa.Column("video_pts", sa.BigInteger),  # time stamp in the video at ``path``; null of an image
    sa.UniqueConstraint("task_id", "name"),
)

mappings = sa.Table(
    "mappings",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("model_id", sa.ForeignKey("models.id", ondelete="CASCADE"), nullable=False),
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="SET NULL"), index=True),
    sa.Column("pairs", sa.JSON, nullable=False),
    sa.Column("created_at", _Time, nullable=False),
    sa.UniqueConstraint("model_id", "task_id", "version"),
)

# What people accepted (or refused), handed to the label matcher as ``learned``.
learned_pairs = sa.Table(
    "learned_pairs",
    metadata,
    sa.Column("model_label", sa.Text, primary_key=True),
    sa.Column("task_label", sa.Text, primary_key=True),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("mapping_id", sa.ForeignKey("mappings.id", ondelete="SET NULL")),
    sa.Column("updated_at", _Time, nullable=False),
)

# A model under a task's words; its name is one of the models' names as well (``store/profiles.py`` sees to that).
profiles = sa.Table(
    "profiles",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("model_id", sa.ForeignKey("models.id"), nullable=False, index=True),
    sa.Column("mapping_id", sa.ForeignKey("mappings.id")),
    sa.Column("labels", sa.JSON, nullable=False),
    sa.Column("prompts", sa.JSON, nullable=False),
    sa.Column("threshold", sa.Double),
    sa.Column("created_at", _Time, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("model_id", sa.ForeignKey("models.id"), nullable=False, index=True),
    sa.Column("source_job_id", sa.ForeignKey("jobs.id"), index=True),  # whose results it reads
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("resolved", sa.JSON, nullable=False),
    sa.Column("frames_total", sa.Integer, nullable=False),
    sa.Column("frames_done", sa.Integer, nullable=False, default=0),
    sa.Column("frames_failed", sa.Integer, nullable=False, default=0),
    sa.Column("shapes_created", sa.Integer, nullable=False, default=0),
    sa.Column("error", sa.Text),
    sa.Column("abort_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("owner", sa.Text),
    sa.Column("lease_until", _Time),
    sa.Column("fence", sa.Integer, nullable=False, default=0),
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("started_at", _Time),
    sa.Column("finished_at", _Time),
    sa.Column("undone_at", _Time),
    sa.Column("waiting", sa.Text),  # for whom, while it runs
)

job_frames = sa.Table(
    "job_frames",
    metadata,
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("error_code", sa.Text),
    sa.Column("error", sa.Text),
    sqlite_with_rowid=False,
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("frame", sa.Integer, primary_key=True),
    sa.Column("format", sa.Integer, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

# A shape that a job took away stays, with the job in ``removed_by``, so that undo can bring it back.
shapes = sa.Table(
    "shapes",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), nullable=False),
    sa.Column("frame", sa.Integer, nullable=False),
    sa.Column("label_id", sa.ForeignKey("labels.id", ondelete="CASCADE"), nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("points", sa.LargeBinary, nullable=False),  # f64, little-endian
    sa.Column("rle", sa.LargeBinary),
    sa.Column("rotation", sa.Double, nullable=False, default=0.0),
    sa.Column("score", sa.Double),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("attributes", sa.Text),
    sa.Column("shape_group", sa.Integer, nullable=False, default=0),
    sa.Column("track_id", sa.Integer, nullable=False, default=0, server_default="0"),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="SET NULL")),
    sa.Column("removed_by", sa.ForeignKey("jobs.id", ondelete="CASCADE")),
    sa.Column("remote", sa.Text),
    sa.Index("ix_shapes_task_id_frame", "task_id", "frame"),
    sa.Index("ix_shapes_job_id", "job_id"),
    sa.Index("ix_shapes_removed_by", "removed_by", sqlite_where=sa.text("removed_by IS NOT NULL")),
    sa.Index("ix_shapes_label_id", "label_id"),
)

# What is about to be changed in another tool; a row goes when it is known to have happened.
intents = sa.Table(
    "intents",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("part", sa.Text, nullable=False),
    sa.Column("frames", sa.JSON, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False),
)

# Who writes to a target in another tool (a job of CVAT, a project of Label Studio): one run or undoing of one job.
target_leases = sa.Table(
    "target_leases",
    metadata,
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("holder", sa.Text, nullable=False),  # this run or undoing, told apart from every other one
    sa.Column("owner", sa.Text, nullable=False),  # its process
    sa.Column("lease_until", _Time, nullable=False),
)

# A task that is a project of Label Studio, as its ML backend calls told of it.
label_studio_projects = sa.Table(
    "label_studio_projects",
    metadata,
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("project_key", sa.Text, nullable=False, unique=True),  # "7.1795334111": its id, and when it was made
    sa.Column("base_url", sa.Text, nullable=False),
    sa.Column("token", sa.LargeBinary),  # encrypted
    sa.Column("updated_at", _Time, nullable=False),
)

# What was last asked of a model (or profile) for a project, and what came of it.
label_studio_backends = sa.Table(
    "label_studio_backends",
    metadata,
    sa.Column("task_id", sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("label_config", sa.Text, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="SET NULL")),
    sa.Column("updated_at", _Time, nullable=False),
)

# Predictions that a job took away in Label Studio, so that undo can bring them back.
label_studio_replaced = sa.Table(
    "label_studio_replaced",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("job_id", sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
)

# What was answered to a request that carried an Idempotency-Key. ``status`` is null while the request is at work.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("operation", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("answer", sa.Text),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False),
    sa.Index("ix_idempotency_keys_created_at", "created_at"),
)

# ``digest`` is the SHA-256 of a token that nobody keeps. A revoked token stays, so that the service does not stand open
# again when the last one is revoked.
tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("expires_at", _Time),
    sa.Column("revoked_at", _Time),
    sa.Column("last_used_at", _Time),
)

# A browser that is logged in: what its token may do, until one of the two ends.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("token_id", sa.ForeignKey("tokens.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", _Time, nullable=False),
    sa.Column("expires_at", _Time, nullable=False),
)
