"""What the table sorts and filters by as columns, scores as rows, the evidence of a result, flags, versions
of suites."""

import json

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"
branch_labels = depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("organisation", sa.String(100), nullable=False, server_default=""),
        sa.Column("parameters", sa.Double),
        sa.Column("open_weights", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("uses_video", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("baseline", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("submissions", column)
    for column in (
        sa.Column("folder", sa.String(64)),
        sa.Column("summary", sa.Text, nullable=False, server_default="{}"),
        sa.Column("signature", sa.LargeBinary),
    ):
        op.add_column("results", column)
    scores = op.create_table(
        "scores",
        sa.Column("result_id", sa.Integer, sa.ForeignKey("results.id"), primary_key=True),
        sa.Column("metric", sa.String(60), primary_key=True),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("low", sa.Double, nullable=False),
        sa.Column("high", sa.Double, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
    )
    op.create_index("ix_scores_metric", "scores", ["metric", "result_id"])
    op.create_table(
        "flags",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("submission", sa.String(64), sa.ForeignKey("submissions.hash"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("suite", sa.String(100), nullable=False),
        sa.Column("other", sa.String(64)),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_flags_submission", "flags", ["submission"])
    op.create_index("ix_flags_other", "flags", ["other"])
    op.create_table(
        "suite_versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("suite", sa.String(100), nullable=False),
        sa.Column("split", sa.String(10), nullable=False),
        sa.Column("hash", sa.String(16), nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("questions", sa.Integer, nullable=False),
        sa.Column("videos", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.UniqueConstraint("suite", "split", "hash"),
    )
    _fill(op.get_bind(), scores)


def _fill(connection, scores: sa.Table) -> None:
    """Rows of before, from their cards and metrics."""
    meta = sa.MetaData()
    submissions, results = (
        sa.Table(name, meta, autoload_with=connection) for name in ("submissions", "results")
    )
    for found in connection.execute(sa.select(submissions.c.hash, submissions.c.card)).all():
        card = json.loads(found.card)
        values = {key: card[key] for key in ("organisation", "parameters", "open_weights", "uses_video")}
        connection.execute(submissions.update().where(submissions.c.hash == found.hash).values(**values))
    for found in connection.execute(sa.select(results.c.id, results.c.metrics)).all():
        rows = [
            {
                "result_id": found.id,
                "metric": name,
                "value": m["value"],
                "n": m["n"],
                **{k: m["value"] if m[k] is None else m[k] for k in ("low", "high")},
            }
            for name, m in json.loads(found.metrics).items()
            if m["value"] is not None
        ]
        if rows:
            connection.execute(scores.insert(), rows)
