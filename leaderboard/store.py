"""What the leaderboard remembers: accounts, submissions and their states, results, an audit log. SQLAlchemy over SQLite or PostgreSQL.

A submission is named by the hash of its content; it is queued once, however often it is sent. States: queued, running, done, failed,
withdrawn. A job is claimed for a time (`lease`); a scorer that dies loses it to the next one, and only the one that holds the claim
may finish it, so that every submission is scored exactly once. Results are never changed.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import DateTime, Engine, ForeignKey, Index, String, Text, UniqueConstraint, create_engine, event, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from leaderboard.submission import Card
from tvad.errors import InputError

QUEUED, RUNNING, DONE, FAILED, WITHDRAWN = "queued", "running", "done", "failed", "withdrawn"
ATTEMPTS = 3


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
    card: Mapped[str] = mapped_column(Text)  # JSON of `Card`
    suites: Mapped[str] = mapped_column(Text)  # JSON list
    state: Mapped[str] = mapped_column(String(10))
    attempts: Mapped[int] = mapped_column(default=0)
    claim: Mapped[str | None] = mapped_column(String(32))
    lease: Mapped[datetime | None] = mapped_column(DateTime)
    error: Mapped[str | None] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(DateTime)
    finished: Mapped[datetime | None] = mapped_column(DateTime)
    __table_args__ = (Index("ix_submissions_state", "state", "created"), Index("ix_submissions_account", "account_id", "created"))


class Result(Base):
    """Metrics of a submission on a suite's split, as scored; suite_hash says on which version."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.hash"))
    suite: Mapped[str] = mapped_column(String(100))
    split: Mapped[str] = mapped_column(String(10))
    suite_hash: Mapped[str] = mapped_column(String(16))
    metrics: Mapped[str] = mapped_column(Text)  # JSON {metric: {value, low, high, n}}
    blind: Mapped[str] = mapped_column(Text)  # JSON of `bench.blind.record`
    __table_args__ = (UniqueConstraint("submission", "suite", "split"), Index("ix_results_suite", "suite", "split", "suite_hash"))


class Audit(Base):
    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime] = mapped_column(DateTime)
    who: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    detail: Mapped[str] = mapped_column(Text, default="")


@dataclass(frozen=True)
class Job:
    """A claimed submission."""

    hash: str
    suites: list[str]
    claim: str


@dataclass(frozen=True)
class Scored:
    """One result of a job."""

    suite: str
    split: str
    suite_hash: str
    metrics: dict[str, dict]
    blind: dict[str, Any]


class Limited(InputError):
    """An account has sent as much as it may today."""


def connect(url: str) -> Engine:
    """An engine for `sqlite:///file` or `postgresql+psycopg://…`. SQLite waits for its lock and checks foreign keys."""
    engine = create_engine(url, pool_pre_ping=True, **({"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}))
    if url.startswith("sqlite"):

        @event.listens_for(engine, "connect")
        def _pragmas(connection, _):
            connection.isolation_level = None  # BEGIN is sent below: the driver's own begins too late to lock
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.close()

        @event.listens_for(engine, "begin")
        def _begin(connection):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Store:
    def __init__(self, engine: Engine):
        self.engine = engine

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine) as session, session.begin():
            yield session

    def create_tables(self) -> None:
        """Make what is missing, for tests and a first start; later versions come by migrations."""
        Base.metadata.create_all(self.engine)

    @staticmethod
    def _note(session: Session, who: str, action: str, subject: str, detail: str = "") -> None:
        session.add(Audit(time=now(), who=who, action=action, subject=subject, detail=detail))

    def create_account(self, name: str, daily: int = 20) -> str:
        """A new account; returns its token, which is shown once and kept nowhere. Raises InputError for a name that is taken."""
        token = f"lb_{secrets.token_urlsafe(32)}"
        try:
            with self._session() as session:
                session.add(Account(name=name, token_hash=_hashed(token), daily=daily, created=now()))
                self._note(session, "admin", "create account", name)
        except IntegrityError as error:
            raise InputError(f"account {name!r} exists already") from error
        return token

    def renew_token(self, name: str) -> str:
        """A new token for an account; the old one is void at once. Raises InputError for an unknown account."""
        token = f"lb_{secrets.token_urlsafe(32)}"
        with self._session() as session:
            account = session.scalar(select(Account).where(Account.name == name))
            if account is None:
                raise InputError(f"no account {name!r}")
            account.token_hash = _hashed(token)
            self._note(session, "admin", "renew token", name)
        return token

    def disable_account(self, name: str) -> None:
        with self._session() as session:
            if not session.execute(update(Account).where(Account.name == name).values(disabled=True)).rowcount:  # type: ignore[attr-defined]
                raise InputError(f"no account {name!r}")
            self._note(session, "admin", "disable account", name)

    def account_of(self, token: str) -> str | None:
        """The name of the account that a token belongs to; None for an unknown token or a disabled account."""
        with self._session() as session:
            return session.scalar(select(Account.name).where(Account.token_hash == _hashed(token), Account.disabled.is_(False)))

    def submit(self, account: str, name_hash: str, card: Card, suites: list[str]) -> bool:
        """Queue a submission; False where the same content is there already (whoever sent it). Raises Limited."""
        try:
            with self._session() as session:
                owner = session.scalars(select(Account).where(Account.name == account)).one()
                if session.get(Submission, name_hash) is not None:
                    return False
                since = now() - timedelta(days=1)
                sent = session.scalar(select(func.count()).where(Submission.account_id == owner.id, Submission.created > since)) or 0
                if sent >= owner.daily:
                    raise Limited(f"{account} has sent {sent} submissions within a day, as many as it may")
                session.add(Submission(hash=name_hash, account_id=owner.id, name=card.name, card=json.dumps(asdict(card)), suites=json.dumps(suites),
                                       state=QUEUED, created=now()))  # fmt: skip
                self._note(session, account, "submit", name_hash, card.name)
        except IntegrityError:  # the same content at the same moment
            return False
        return True

    def claim(self, seconds: float) -> Job | None:
        """The oldest job that waits, or whose scorer has not finished within its lease; None where there is none. A job that has been
        claimed `ATTEMPTS` times without an end is failed."""
        token, moment = secrets.token_hex(16), now()
        while True:
            with self._session() as session:
                open_job = (Submission.state == QUEUED) | ((Submission.state == RUNNING) & (Submission.lease < moment))
                query = select(Submission).where(open_job).order_by(Submission.created, Submission.hash).limit(1)
                found = session.scalar(query.with_for_update(skip_locked=True))
                if found is None:
                    return None
                if found.attempts >= ATTEMPTS:
                    found.state, found.error, found.finished, found.claim = FAILED, f"scoring did not end in {ATTEMPTS} attempts", moment, None
                    self._note(session, "scorer", "fail", found.hash, found.error)
                    continue
                found.state, found.claim, found.lease, found.attempts = RUNNING, token, moment + timedelta(seconds=seconds), found.attempts + 1
                return Job(found.hash, json.loads(found.suites), token)

    def _held(self, session: Session, job: Job) -> Submission | None:
        query = select(Submission).where(Submission.hash == job.hash, Submission.claim == job.claim, Submission.state == RUNNING)
        return session.scalar(query.with_for_update())

    def finish(self, job: Job, results: list[Scored]) -> bool:
        """Keep a job's results; False, and nothing kept, where the claim has passed to another scorer or the submission was withdrawn."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            for r in results:
                session.add(Result(submission=job.hash, suite=r.suite, split=r.split, suite_hash=r.suite_hash, metrics=json.dumps(r.metrics),
                                   blind=json.dumps(r.blind)))  # fmt: skip
            found.state, found.finished, found.claim = DONE, now(), None
            self._note(session, "scorer", "done", job.hash)
        return True

    def fail(self, job: Job, reason: str) -> bool:
        """End a job that cannot be scored."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            found.state, found.error, found.finished, found.claim = FAILED, reason[:1000], now(), None
            self._note(session, "scorer", "fail", job.hash, reason[:1000])
        return True

    def withdraw(self, account: str | None, name_hash: str) -> None:
        """Take a submission out of the table; its row stays as a tombstone. account None: the administrator. Raises InputError for one that
        is not there or belongs to another account, in the same words."""
        with self._session() as session:
            found = session.get(Submission, name_hash)
            owner = session.get(Account, found.account_id) if found is not None else None
            if found is None or owner is None or (account is not None and owner.name != account):
                raise InputError(f"no submission {name_hash[:64]!r} of this account")
            found.state, found.claim = WITHDRAWN, None
            self._note(session, account or "admin", "withdraw", name_hash)

    def status(self, name_hash: str) -> dict[str, Any] | None:
        """Everything public about one submission; None for an unknown one."""
        with self._session() as session:
            found = session.get(Submission, name_hash)
            if found is None:
                return None
            owner = session.get_one(Account, found.account_id)
            return {"hash": found.hash, "account": owner.name, "name": found.name, "card": json.loads(found.card), "suites": json.loads(found.suites),
                    "state": found.state, "error": found.error, "created": found.created, "finished": found.finished}  # fmt: skip

    def table(self, suite: str, split: str = "public") -> list[dict[str, Any]]:
        """Results of all finished submissions on a suite's split, newest first."""
        with self._session() as session:
            query = select(Submission, Result, Account.name).join(Result, Result.submission == Submission.hash)
            query = query.join(Account, Account.id == Submission.account_id)
            query = query.where(Submission.state == DONE, Result.suite == suite, Result.split == split).order_by(Submission.created.desc(), Submission.hash)
            return [
                {"hash": s.hash, "account": owner, "name": s.name, "card": json.loads(s.card), "suite_hash": r.suite_hash,
                 "metrics": json.loads(r.metrics), "blind": json.loads(r.blind), "created": s.created}
                for s, r, owner in session.execute(query)
            ]  # fmt: skip

    def results(self, name_hash: str, split: str = "public") -> list[tuple[str, dict[str, Any]]]:
        """(suite, metrics) of one submission."""
        with self._session() as session:
            rows = session.scalars(select(Result).where(Result.submission == name_hash, Result.split == split).order_by(Result.suite))
            return [(r.suite, json.loads(r.metrics)) for r in rows]

    def audit(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest entries of the audit log."""
        with self._session() as session:
            rows = session.scalars(select(Audit).order_by(Audit.id.desc()).limit(most))
            return [{"time": a.time, "who": a.who, "action": a.action, "subject": a.subject, "detail": a.detail} for a in rows]
