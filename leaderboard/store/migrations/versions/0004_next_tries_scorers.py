"""When a queued submission is tried next, how long scoring took, scorers and when they were last heard of."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"
branch_labels = depends_on = None


def upgrade() -> None:
    op.add_column("submissions", sa.Column("next_try", sa.DateTime))
    op.add_column("submissions", sa.Column("seconds", sa.Integer))
    op.create_table(
        "scorers",
        sa.Column("name", sa.String(100), primary_key=True),
        sa.Column("began", sa.DateTime, nullable=False),
        sa.Column("seen", sa.DateTime, nullable=False),
    )
    op.create_index("ix_audit_action", "audit", ["action"])
