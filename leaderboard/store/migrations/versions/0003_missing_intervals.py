"""A score without an interval has no bounds: its value in their place made it look certain."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"
branch_labels = depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("scores") as table:
        for name in ("low", "high"):
            table.alter_column(name, existing_type=sa.Double, nullable=True)
    scores = sa.table("scores", *(sa.column(name, sa.Double) for name in ("low", "high")))
    op.execute(scores.update().where(scores.c.low == scores.c.high).values(low=None, high=None))
