"""A board's rows in another database, SQLite or PostgreSQL: all tables in the order of their references, in
one transaction there, under a lock here. Counted and hashed on both sides before it is kept, and refused
where the other database holds anything."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, text
from sqlalchemy.exc import SQLAlchemyError

from leaderboard.board.config import Board
from leaderboard.store import dump
from leaderboard.store.database import connect, upgrade
from tvad.common.errors import InputError

MOVED = "moved_"  # before the name of a table whose rows are elsewhere now


class Sums:
    """Count and hash of the rows of a table, whatever their order: databases sort texts in different ways."""

    def __init__(self) -> None:
        self.count, self.sum = 0, 0

    def add(self, line: str) -> str:
        self.count += 1
        self.sum = (self.sum + int.from_bytes(hashlib.sha256(line.encode()).digest(), "big")) % (1 << 256)
        return line

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sums) and (self.count, self.sum) == (other.count, other.sum)


def _summed(connection: Connection, table: Table, sums: Sums) -> Iterator[str]:
    return map(sums.add, dump.lines(connection, table))


def _lock(connection: Connection) -> None:
    """Nobody else reads or writes until the end of the transaction. On SQLite its beginning keeps out
    writers; who reads meanwhile sees what was there."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(f"LOCK TABLE {', '.join(t.name for t in dump.tables())} IN ACCESS EXCLUSIVE MODE")
        )


def _check(source: Board, target: Board) -> None:
    if Path(source.folder).resolve() != Path(target.folder).resolve():
        raise InputError(
            f"folder is {target.folder}, but the board's is {source.folder}: only rows are moved"
        )
    if source.url == target.url:
        raise InputError("database is the same in both configurations")


def _refuse_moved(engine: Engine) -> None:
    with engine.connect() as connection:
        names = dump.names(connection)
    if "submissions" not in names:
        moved = f"{MOVED}submissions" in names
        raise InputError(
            f"{engine.url.render_as_string()}: {'was moved already' if moved else 'holds no board'}"
        )


def move(source: Board, target: Board) -> dict[str, int]:
    """Move all rows; returns {table: rows}. Raises InputError, and then the other database is as it was,
    empty, and nothing is changed here; but for an end between its commit and this one, after which both hold
    the rows and the other has to be emptied for another try."""
    _check(source, target)
    here, there = connect(source.url), connect(target.url)
    try:
        _refuse_moved(here)
        with here.begin() as old:
            upgrade(old)
            _lock(old)
            with there.begin() as new:
                if names := dump.names(new):
                    raise InputError(f"{there.url.render_as_string()}: is not empty ({names[0]}, …)")
                given, found = ({table.name: Sums() for table in dump.tables()} for _ in range(2))
                rows = {table.name: _summed(old, table, given[table.name]) for table in dump.tables()}
                dump.fill(new, dump.revision(old), rows)
                for table in dump.tables():
                    for _ in _summed(new, table, found[table.name]):
                        pass
                for name, sums in given.items():
                    if found[name] != sums:
                        told = f"{sums.count} rows here, {found[name].count} there, or others"
                        raise InputError(f"{name}: {told}; nothing is moved")
            for table in dump.tables():
                old.execute(text(f"ALTER TABLE {table.name} RENAME TO {MOVED}{table.name}"))
    except SQLAlchemyError as error:
        raise InputError(f"not moved: {' '.join(str(error).split())[:300]}") from error
    finally:
        here.dispose()
        there.dispose()
    return {name: sums.count for name, sums in given.items()}
