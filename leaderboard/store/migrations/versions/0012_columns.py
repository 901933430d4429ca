"""A metric's column of scores is read from its index alone: of ten thousand models each row was looked up."""

from alembic import op

revision, down_revision = "0012", "0011"
branch_labels = depends_on = None


def upgrade() -> None:
    op.drop_index("ix_scores_metric", "scores")
    op.create_index("ix_scores_metric", "scores", ["metric", "result_id", "value", "low", "high"])
