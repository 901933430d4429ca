"""Alembic's entry: over the connection that `database.migrate` hands in, or over `-x url=…`."""

from alembic import context

from leaderboard.store.database import connect
from leaderboard.store.tables import Base


def run(connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with connect(context.get_x_argument(as_dictionary=True)["url"]).connect() as connection:
        run(connection)
        connection.commit()
