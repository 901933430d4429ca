"""All rows of a board's tables as lines of JSON, and back into an empty database. Not pg_dump or SQLite's own
backup: what was written on one database is read by the other, and by later versions of both."""

import base64
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    Table,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
)

from leaderboard.store.database import upgrade
from leaderboard.store.tables import Base
from tvad.common.errors import InputError
from tvad.common.files import json_text, parse_json

VERSION = "alembic_version"
ROWS = 500  # inserted at a time


@contextmanager
def moment(engine: Engine) -> Iterator[Connection]:
    """A connection that sees the database as it is now, whatever is written meanwhile, and stops no
    writer."""
    options: dict[str, Any] = {"reads": True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"
    with engine.execution_options(**options).connect() as connection, connection.begin():
        yield connection


def revision(connection: Connection) -> str:
    """The revision that the tables are of."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def names(connection: Connection) -> list[str]:
    """The tables that a database has, whoever made them."""
    return inspect(connection).get_table_names()


def tables() -> list[Table]:
    """The tables of this version, those that others refer to first."""
    return Base.metadata.sorted_tables


def lines(connection: Connection, table: Table) -> Iterator[str]:
    """The rows of a table, {column: value} each: times in ISO 8601, bytes in base64."""
    query = select(table).order_by(*table.primary_key.columns)
    for row in connection.execute(query, execution_options={"yield_per": ROWS}).mappings():
        yield json_text({name: _plain(value) for name, value in row.items()}, table.name) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case str():
            return value.replace("\0", "\\0")  # SQLite keeps one, PostgreSQL takes none
    return value


def _value(column: Column, value: Any) -> Any:
    """What `_plain` was given. Raises ValueError, TypeError."""
    if value is None:
        return None
    kind = column.type.python_type
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is bytes:
        return base64.b64decode(value, validate=True)
    if kind is float:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{column.name} is {value!r:.40}, expected {kind.__name__}")
    return value


def _rows(table: Table, given: Iterable[str]) -> Iterator[dict[str, Any]]:
    for n, line in enumerate(given, 1):
        try:
            row = parse_json(line)
            yield {name: _value(table.c[name], value) for name, value in row.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"{table.name}.jsonl: line {n} is no row ({error!s:.120})") from error


def fill(connection: Connection, at: str, given: Mapping[str, Iterable[str]]) -> None:
    """Make the tables of revision `at` in an empty database, put the rows of {table: lines} in, and bring
    them to this version's form, all within the connection's transaction. Raises InputError."""
    upgrade(connection, at)
    found = MetaData()
    found.reflect(connection)  # as they were then: this version's columns may be others
    made = [table for table in found.sorted_tables if table.name != VERSION]
    if {table.name for table in made} != set(given):
        raise InputError(f"the tables of revision {at} are {', '.join(sorted(t.name for t in made))}")
    for table in reversed(made):
        connection.execute(delete(table))  # what a migration may have put in
    for table in made:
        rows = _rows(table, given[table.name])
        while part := list(islice(rows, ROWS)):
            connection.execute(insert(table), part)
        _count_on(connection, table)
    upgrade(connection)


def _count_on(connection: Connection, table: Table) -> None:
    """Let PostgreSQL number new rows behind the highest that was put in; SQLite does by itself."""
    if connection.dialect.name != "postgresql" or (column := table.autoincrement_column) is None:
        return
    most = connection.scalar(select(func.max(column)))
    if most is not None:
        counter = text("SELECT setval(pg_get_serial_sequence(:table, :column), :most)")
        connection.execute(counter, {"table": f'"{table.name}"', "column": column.name, "most": most})
