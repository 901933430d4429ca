"""Events of a window by its steps. What was counted before is forgotten: nothing says when it was."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0011", "0010"
branch_labels = depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM quotas")
    op.add_column("quotas", sa.Column("steps", sa.Text, nullable=False, server_default="[]"))
    op.drop_column("quotas", "count")
