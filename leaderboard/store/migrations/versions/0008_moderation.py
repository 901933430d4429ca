"""Submissions that wait to be approved, organisations that are verified."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0008", "0007"
branch_labels = depends_on = None


def upgrade() -> None:
    op.add_column("submissions", sa.Column("approved", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("accounts", sa.Column("organisation", sa.String(100), nullable=False, server_default=""))
