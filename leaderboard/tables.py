"""The tables of a leaderboard, over SQLite or PostgreSQL, and how they are brought to this version's form."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import (
    DateTime,
    Engine,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    false,
    inspect,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tvad.common.errors import InputError


def now() -> datetime:
    """UTC without a zone: SQLite keeps none."""
    return datetime.now(UTC).replace(tzinfo=None)


class Base(DeclarativeBase):
    pass


class Account(Base):
    """Who may submit. The token itself is never kept."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    daily: Mapped[int]  # submissions a day
    disabled: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime] = mapped_column(DateTime)


class Submission(Base):
    __tablename__ = "submissions"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(100))
    card: Mapped[str] = mapped_column(Text)  # JSON of `Card`; what the table filters by also as columns
    organisation: Mapped[str] = mapped_column(String(100), server_default="")
    parameters: Mapped[float | None]
    open_weights: Mapped[bool] = mapped_column(server_default=false())
    uses_video: Mapped[bool] = mapped_column(server_default=true())
    baseline: Mapped[bool] = mapped_column(server_default=false())
    suites: Mapped[str] = mapped_column(Text)  # JSON list
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(default=0)
    claim: Mapped[str | None] = mapped_column(String(32))
    lease: Mapped[datetime | None] = mapped_column(DateTime)
    error: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime)
    finished: Mapped[datetime | None] = mapped_column(DateTime)
    __table_args__ = (
        Index("ix_submissions_state", "state", "created"),
        Index("ix_submissions_account", "account_id", "created"),
    )


class Result(Base):
    """Metrics of a submission on a suite's split, as scored; suite_hash says on which version, folder names
    the scored run by its content."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.hash"))
    suite: Mapped[str] = mapped_column(String(100))
    split: Mapped[str] = mapped_column(String(10))
    suite_hash: Mapped[str] = mapped_column(String(16))
    metrics: Mapped[str] = mapped_column(Text)  # JSON {metric: {value, low, high, n}}
    blind: Mapped[str] = mapped_column(Text)  # JSON of `bench.blind.record`
    folder: Mapped[str | None] = mapped_column(String(64))
    summary: Mapped[str] = mapped_column(Text, server_default="{}")  # JSON of `leaderboard.evidence.summary`
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)  # `leaderboard.integrity.signature`
    __table_args__ = (
        UniqueConstraint("submission", "suite", "split"),
        Index("ix_results_suite", "suite", "split", "suite_hash"),
    )


class Score(Base):
    """A defined metric of a result, for sorting; without an interval its bounds are the value."""

    __tablename__ = "scores"
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    n: Mapped[int]
    __table_args__ = (Index("ix_scores_metric", "metric", "result_id"),)


class Flag(Base):
    """What makes a submission look doubtful (`leaderboard.integrity`); other: the submission that it
    resembles."""

    __tablename__ = "flags"
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.hash"))
    kind: Mapped[str] = mapped_column(String(20))
    suite: Mapped[str] = mapped_column(String(100))
    other: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)
    __table_args__ = (Index("ix_flags_submission", "submission"), Index("ix_flags_other", "other"))


class SuiteVersion(Base):
    """A version of a suite's split, from when it was first served. Rows of different versions are never
    compared."""

    __tablename__ = "suite_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    suite: Mapped[str] = mapped_column(String(100))
    split: Mapped[str] = mapped_column(String(10))
    hash: Mapped[str] = mapped_column(String(16))
    since: Mapped[datetime] = mapped_column(DateTime)
    questions: Mapped[int]
    videos: Mapped[int]
    note: Mapped[str] = mapped_column(Text)
    __table_args__ = (UniqueConstraint("suite", "split", "hash"),)


class Audit(Base):
    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime] = mapped_column(DateTime)
    who: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    detail: Mapped[str] = mapped_column(Text, default="")


def connect(url: str) -> Engine:
    """An engine for `sqlite:///file` or `postgresql+psycopg://…`. SQLite waits for its lock and checks
    foreign keys."""
    engine = create_engine(
        url, pool_pre_ping=True, **({"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {})
    )
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection, _):
            connection.isolation_level = None  # BEGIN is sent below: the driver's own begins too late to lock
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection):
            reads = connection.get_execution_options().get("reads")
            connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables to this version's form (Alembic); several processes may try at once. Raises InputError
    for tables of a newer version."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(747)")
        config.attributes["connection"] = connection
        names = inspect(connection).get_table_names()
        try:
            if "submissions" in names and "alembic_version" not in names:
                command.stamp(config, "0001")  # the first tables were made without a version
            command.upgrade(config, "head")
        except CommandError as error:
            raise InputError(
                f"{engine.url.render_as_string()}: its tables are of another version of this program"
                f" ({error})"
            ) from error
