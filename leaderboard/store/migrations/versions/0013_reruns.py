"""What came of running a submission's model again."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0013", "0012"
branch_labels = depends_on = None


def upgrade() -> None:
    op.create_table(
        "reruns",
        sa.Column("submission", sa.String(64), sa.ForeignKey("submissions.hash"), primary_key=True),
        sa.Column("suite", sa.String(100), primary_key=True),
        sa.Column("version", sa.String(16), nullable=False),
        sa.Column("model", sa.String(300), nullable=False),
        sa.Column("verified", sa.Boolean, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
    )
