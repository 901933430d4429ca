"""A browser that is signed in knows by which identity of a provider."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0015", "0014"
branch_labels = depends_on = None


def upgrade() -> None:
    op.add_column("logins", sa.Column("issuer", sa.String(255)))
    op.add_column("logins", sa.Column("subject", sa.String(255)))
