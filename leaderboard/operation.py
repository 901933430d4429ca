"""The commands of `leaderboard` for who runs a board: a copy of it, a board out of a copy, another
database."""

import sys
from pathlib import Path
from typing import Annotated

from tvad.common import cli


def backup(config: str, out: Annotated[str, cli.FILE]) -> int:
    """Write a board, its database and its files, to one file; it may run meanwhile. Exit status 1 where files
    are missing that the database names.

    Args:
        config: YAML file of the board, or the name of a shipped one.
        out: A .zip, replaced as a whole. It holds the board's secret and is readable by its owner only.

    Example:
        leaderboard backup --config local --out board.zip
    """
    from leaderboard import backup as backups
    from leaderboard.store.opening import open_board

    board, store = open_board(config)
    manifest, missing = backups.backup(board, store, Path(out))
    for name in missing:
        print(f"WARNING: {board.folder}/{name} is missing", file=sys.stderr)
    print(f"{out}: {len(manifest['files'])} files, {Path(out).stat().st_size >> 20} MiB")
    return 1 if missing else 0


def restore(file: str, /, config: str) -> int:
    """Fill a board from a backup; its folder and its database must be empty.

    Args:
        file: What `leaderboard backup` has written.
        config: YAML file of the board: another folder, or another kind of database, than the backup's may
            stand there.

    Example:
        leaderboard restore board.zip --config local
    """
    from leaderboard import backup as backups
    from leaderboard.board import config as boards

    board = boards.read(config)
    manifest = backups.restore(Path(file), board)
    print(f"{board.folder}: {len(manifest['files'])} files, as of {manifest['made']}")
    return 0


def move(config: str, to: str) -> int:
    """Move a board's rows to another, empty database, SQLite or PostgreSQL; its folder stays. The old tables
    are then called moved_…, so that a server which still runs on them can take nothing more.

    Args:
        config: YAML file of the board as it is.
        to: YAML file of the board as it will be: the same, with another `database`.

    Example:
        leaderboard move --config sqlite.yaml --to postgresql.yaml
    """
    from leaderboard import moving
    from leaderboard.board import config as boards

    source, target = boards.read(config), boards.read(to)
    for table, count in moving.move(source, target).items():
        print(f"{table:16s} {count:9d} rows")
    print(f"moved; start server and scorers with {to}")
    return 0
