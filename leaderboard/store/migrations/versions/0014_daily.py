"""An account's submissions a day are kept only where they are not the board's number. All had a copy of what
that was when they were made; no command could set another."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0014", "0013"
branch_labels = depends_on = None


def upgrade() -> None:
    op.drop_column("accounts", "daily")  # SQLite cannot alter one
    op.add_column("accounts", sa.Column("daily", sa.Integer))
