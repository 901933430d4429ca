"""A leaderboard's configuration: where it keeps things, which suites it scores."""

from dataclasses import dataclass, field
from pathlib import Path

from bench import suite as suites
from tvad import config
from tvad.errors import InputError

SPLITS = ("public", "private")


@dataclass
class BoardSuite:
    """config: the benchmark suite's YAML file. split: public, or private: its labels are known to the server only. table: the table that
    it belongs to, where not its own (the private half of a public suite)."""

    config: str
    split: str = "public"
    table: str | None = None


@dataclass
class Scoring:
    """Limits of one submission's scoring: seconds of wall time, GiB of memory."""

    seconds: float = 900.0
    gigabytes: float = 8.0


@dataclass
class Board:
    """folder: submissions and results. database: SQLAlchemy's address (default: SQLite in `folder`). daily: submissions an account may send
    a day where not set otherwise."""

    folder: str
    suites: dict[str, BoardSuite]
    database: str | None = None
    title: str = "Video anomaly leaderboard"
    daily: int = 20
    scoring: Scoring = field(default_factory=Scoring)

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{Path(self.folder).resolve() / 'leaderboard.sqlite'}"

    def check(self) -> None:
        """Open every suite, so that bad labels are found at the start and not at the first submission. Raises InputError."""
        for suite in self.suites.values():
            suites.load(suites.read(suite.config))

    def submission(self, name_hash: str) -> Path:
        """Where a submission's files lie. Raises InputError for what is no hash."""
        if len(name_hash) != 64 or not set(name_hash) <= set("0123456789abcdef"):
            raise InputError("expected a submission's hash, 64 hexadecimal digits")
        return Path(self.folder) / "submissions" / name_hash


def read(path: str, overrides: list[str] | None = None) -> Board:
    """A board from YAML. Raises InputError."""
    board = config.build(Board, config.override(config.read_yaml(path), overrides or []), path)
    if not board.suites:
        raise InputError(f"{path}: suites is empty")
    for name, suite in board.suites.items():
        if suite.split not in SPLITS:
            raise InputError(f"{path}: suites: {name}: split is {suite.split!r}, expected one of {', '.join(SPLITS)}")
    return board
