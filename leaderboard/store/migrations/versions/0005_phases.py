"""Phases of private versions, and on which labels a flag rests. What is known of no phase is kept back: old
flags of submissions that answer a private split among it."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0005", "0004"
branch_labels = depends_on = None


def upgrade() -> None:
    for name in ("ends", "ended"):
        op.add_column("suite_versions", sa.Column(name, sa.DateTime))
    op.add_column("flags", sa.Column("split", sa.String(10), nullable=False, server_default="private"))
    op.add_column("flags", sa.Column("version", sa.String(16), nullable=False, server_default=""))
    op.execute(
        "UPDATE flags SET split = 'public' WHERE kind = 'near-duplicate' AND NOT EXISTS"
        " (SELECT 1 FROM results WHERE results.submission = flags.submission AND results.split = 'private')"
    )
