"""Opening a leaderboard's database, SQLite or PostgreSQL, and bringing its tables to this version's form."""

from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, inspect, make_url

from tvad.common.errors import InputError
from tvad.common.files import check_file

MIGRATIONS = Path(__file__).parent / "migrations"


WAIT = 60  # seconds for a lock, where the address says nothing else (?timeout=, ?options=-c lock_timeout=)
# At a time; more than a server's threads (40 of anyio, a few of `serve`): otherwise requests that wait for
# a lock keep those waiting that only read. Beyond POOL they are closed after use.
CONNECTIONS, POOL = 48, 5
# A process that is stopped inside a transaction would otherwise hold its locks for ever.
POSTGRESQL = {
    "connect_timeout": 10,
    "options": f"-c lock_timeout={WAIT}s -c idle_in_transaction_session_timeout={WAIT}s",
}


def connect(url: str) -> Engine:
    """An engine for `sqlite:///file` or `postgresql+psycopg://…`. Both wait for a lock, not for ever; SQLite
    checks foreign keys. Raises InputError where SQLite's file cannot be."""
    stated = make_url(url)
    usual = {"timeout": WAIT} if stated.get_backend_name() == "sqlite" else POSTGRESQL
    given = {key: value for key, value in usual.items() if key not in stated.query}
    pool = {"pool_size": POOL, "max_overflow": CONNECTIONS - POOL}
    engine = create_engine(url, poolclass=QueuePool, pool_pre_ping=True, connect_args=given, **pool)
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            check_file(engine.url.database)

        @event.listens_for(engine, "connect")
        def _pragmas(connection, _):
            connection.isolation_level = None  # BEGIN is sent below: the driver's own begins too late to lock
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA secure_delete=ON")  # what was withdrawn is not in the file any more
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection):
            # A transaction that reads first and writes later cannot wait for another writer and fails; one
            # that takes the write lock at once waits its turn. Those that only read (`reads`) need no lock.
            reads = connection.get_execution_options().get("reads")
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to this version's form; several processes may try at once. Raises InputError for
    tables of a newer version."""
    with engine.begin() as connection:
        upgrade(connection)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Bring the tables to a revision's form (Alembic), within the connection's transaction. Raises InputError
    where the tables, or the revision, are of a newer version."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    if connection.dialect.name == "postgresql":
        # Any number that all processes use; free again with the end of the transaction. On SQLite the
        # transaction itself is the lock.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(747)")
    config.attributes["connection"] = connection
    names = inspect(connection).get_table_names()
    try:
        if "submissions" in names and "alembic_version" not in names:
            command.stamp(config, "0001")  # the first tables were made without a version
        command.upgrade(config, revision)
    except CommandError as error:
        raise InputError(
            f"{connection.engine.url.render_as_string()}: its tables are of another version of this program"
            f" ({error})"
        ) from error
