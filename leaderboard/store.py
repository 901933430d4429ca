"""What the leaderboard remembers: accounts, submissions and their states, results, flags, an audit log.
SQLAlchemy over SQLite or PostgreSQL.

A submission is named by the hash of its content; it is queued once, however often it is sent. States: queued,
running, done, failed, withdrawn. A job is claimed for a time (`lease`); a scorer that dies loses it to the
next one, and only the one that holds the claim may finish it, so that every submission is scored exactly
once. Results are never changed.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from sqlalchemy import Engine, and_, false, func, insert, or_, select, true, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leaderboard import integrity
from leaderboard.submission import Card
from leaderboard.tables import Account, Audit, Flag, Result, Score, Submission, SuiteVersion, migrate, now
from tvad.common.errors import InputError

QUEUED, RUNNING, DONE, FAILED, WITHDRAWN = "queued", "running", "done", "failed", "withdrawn"
ATTEMPTS = 3


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
    folder: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    signature: str | None = None  # hexadecimal
    videos: int = 0
    questions: int = 0


@dataclass(frozen=True)
class Filter:
    """Which rows of a table are shown: words of name or organisation, open weights only, those that look at
    the video only, without baselines, at most so many parameters. older: submissions too that the same
    account has replaced by a newer one of the same name."""

    words: str = ""
    open_weights: bool = False
    uses_video: bool = False
    no_baselines: bool = False
    most: float | None = None
    older: bool = False


@dataclass(frozen=True)
class Standings:
    """The results of a table by one metric, (n,) each: results (their numbers), hashes, value, low and high
    (NaN without the metric), and whether they pass the filter."""

    results: np.ndarray
    hashes: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shown: np.ndarray


class Limited(InputError):
    """An account has sent as much as it may today."""


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _card(text: str) -> dict[str, Any]:
    return asdict(Card(**json.loads(text)))


class Store:
    def __init__(self, engine: Engine):
        self.engine = engine
        self._reader = engine.execution_options(reads=True)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with Session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        """A session that writes nothing: on SQLite it neither waits for writers nor stops them."""
        with Session(self._reader) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version's form; see `leaderboard.tables.migrate`."""
        migrate(self.engine)

    @staticmethod
    def _note(session: Session, who: str, action: str, subject: str, detail: str = "") -> None:
        session.add(Audit(time=now(), who=who, action=action, subject=subject, detail=detail))

    def create_account(self, name: str, daily: int = 20) -> str:
        """A new account; returns its token, which is shown once and kept nowhere. Raises InputError for a
        name that is taken."""
        token = f"lb_{secrets.token_urlsafe(32)}"
        try:
            with self._session() as session:
                session.add(Account(name=name, token_hash=_hashed(token), daily=daily, created=now()))
                self._note(session, "admin", "create account", name)
        except IntegrityError as error:
            raise InputError(f"account {name!r} exists already") from error
        return token

    def renew_token(self, name: str) -> str:
        """A new token for an account; the old one is void at once. Raises InputError for an unknown
        account."""
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
            if not session.execute(
                update(Account).where(Account.name == name).values(disabled=True)
            ).rowcount:  # type: ignore[attr-defined]
                raise InputError(f"no account {name!r}")
            self._note(session, "admin", "disable account", name)

    def account_of(self, token: str) -> str | None:
        """The name of the account that a token belongs to; None for an unknown token or a disabled
        account."""
        with self._reading() as session:
            return session.scalar(
                select(Account.name).where(Account.token_hash == _hashed(token), Account.disabled.is_(False))
            )

    def submit(self, account: str, name_hash: str, card: Card, suites: list[str]) -> bool:
        """Queue a submission; False where the same content is there already (whoever sent it). Raises
        Limited."""
        try:
            with self._session() as session:
                owner = session.scalars(select(Account).where(Account.name == account)).one()
                if session.get(Submission, name_hash) is not None:
                    return False
                since = now() - timedelta(days=1)
                sent = (
                    session.scalar(
                        select(func.count()).where(
                            Submission.account_id == owner.id, Submission.created > since
                        )
                    )
                    or 0
                )
                if sent >= owner.daily:
                    raise Limited(f"{account} has sent {sent} submissions within a day, as many as it may")
                session.add(
                    Submission(
                        hash=name_hash,
                        account_id=owner.id,
                        name=card.name,
                        card=json.dumps(asdict(card)),
                        suites=json.dumps(suites),
                        organisation=card.organisation,
                        parameters=card.parameters,
                        open_weights=card.open_weights,
                        uses_video=card.uses_video,
                        baseline=card.baseline,
                        state=QUEUED,
                        created=now(),
                    )
                )
                self._note(session, account, "submit", name_hash, card.name)
        except IntegrityError:  # the same content at the same moment
            return False
        return True

    def claim(self, seconds: float) -> Job | None:
        """The oldest job that waits, or whose scorer has not finished within its lease; None where there is
        none. A job that has been claimed `ATTEMPTS` times without an end is failed."""
        token, moment = secrets.token_hex(16), now()
        while True:
            with self._session() as session:
                open_job = (Submission.state == QUEUED) | (
                    (Submission.state == RUNNING) & (Submission.lease < moment)
                )
                query = (
                    select(Submission).where(open_job).order_by(Submission.created, Submission.hash).limit(1)
                )
                found = session.scalar(query.with_for_update(skip_locked=True))
                if found is None:
                    return None
                if found.attempts >= ATTEMPTS:
                    found.state, found.error, found.finished, found.claim = (
                        FAILED,
                        f"scoring did not end in {ATTEMPTS} attempts",
                        moment,
                        None,
                    )
                    self._note(session, "scorer", "fail", found.hash, found.error)
                    continue
                found.state, found.claim, found.lease, found.attempts = (
                    RUNNING,
                    token,
                    moment + timedelta(seconds=seconds),
                    found.attempts + 1,
                )
                return Job(found.hash, json.loads(found.suites), token)

    def _held(self, session: Session, job: Job) -> Submission | None:
        query = select(Submission).where(
            Submission.hash == job.hash, Submission.claim == job.claim, Submission.state == RUNNING
        )
        return session.scalar(query.with_for_update())

    def finish(self, job: Job, results: list[Scored]) -> bool:
        """Keep a job's results and what is doubtful about them; False, and nothing kept, where the claim has
        passed to another scorer or the submission was withdrawn."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            for r in results:
                self._note_version(session, r.suite, r.split, r.suite_hash, r.videos, r.questions)
            for r in sorted(results, key=lambda r: (r.suite, r.split)):
                row = Result(
                    submission=job.hash,
                    suite=r.suite,
                    split=r.split,
                    suite_hash=r.suite_hash,
                    metrics=json.dumps(r.metrics),
                    blind=json.dumps(r.blind),
                    folder=r.folder,
                    summary=json.dumps(r.summary),
                    signature=bytes.fromhex(r.signature) if r.signature else None,
                )
                if row.signature:
                    self._note_resemblances(session, found, row)
                session.add(row)
                session.flush()
                scores = [
                    {
                        "result_id": row.id,
                        "metric": name,
                        "value": m["value"],
                        "n": m["n"],
                        **{k: m["value"] if m[k] is None else m[k] for k in ("low", "high")},
                    }
                    for name, m in r.metrics.items()
                    if m["value"] is not None
                ]
                if scores:
                    session.execute(insert(Score), scores)
            for suite, detail in integrity.too_good({(r.suite, r.split): r.metrics for r in results}):
                session.add(Flag(submission=job.hash, kind=integrity.TOO_GOOD, suite=suite, detail=detail))
                self._note(session, "scorer", "flag", job.hash, detail)
            found.state, found.finished, found.claim = DONE, now(), None
            self._note(session, "scorer", "done", job.hash)
        return True

    def _note_resemblances(self, session: Session, found: Submission, row: Result) -> None:
        """Flags for submissions whose answers are nearly those of `row`. The version's row is locked, so that
        of two that end together one sees the other."""
        session.scalars(self._version(row.suite, row.split, row.suite_hash).with_for_update()).one()
        query = select(Submission.hash, Submission.name, Result.signature).join(
            Result, Result.submission == Submission.hash
        )
        query = query.where(
            Result.suite == row.suite,
            Result.split == row.split,
            Result.suite_hash == row.suite_hash,
            Submission.state == DONE,
            Result.signature.is_not(None),
            or_(Submission.account_id != found.account_id, Submission.name != found.name),
        )
        others = session.execute(query).all()
        assert row.signature is not None
        for place, detail in integrity.resembling(row.signature, [other.signature for other in others]):
            session.add(
                Flag(
                    submission=found.hash,
                    kind=integrity.NEAR_DUPLICATE,
                    suite=row.suite,
                    other=others[place].hash,
                    detail=detail,
                )
            )
            self._note(session, "scorer", "flag", found.hash, f"{detail} {others[place].hash}")

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
        """Take a submission out of the table; its row stays as a tombstone. account None: the administrator.
        Raises InputError for one that is not there or belongs to another account, in the same words."""
        with self._session() as session:
            found = session.get(Submission, name_hash)
            owner = session.get(Account, found.account_id) if found is not None else None
            if found is None or owner is None or (account is not None and owner.name != account):
                raise InputError(f"no submission {name_hash[:64]!r} of this account")
            found.state, found.claim = WITHDRAWN, None
            self._note(session, account or "admin", "withdraw", name_hash)

    def status(self, name_hash: str) -> dict[str, Any] | None:
        """Everything public about one submission; None for an unknown one."""
        with self._reading() as session:
            found = session.execute(
                select(Submission, Account.name)
                .join(Account, Account.id == Submission.account_id)
                .where(Submission.hash == name_hash)
            ).first()
            if found is None:
                return None
            row, owner = found
            return {
                "hash": row.hash,
                "account": owner,
                "name": row.name,
                "card": _card(row.card),
                "suites": json.loads(row.suites),
                "state": row.state,
                "error": row.error,
                "created": row.created,
                "finished": row.finished,
            }

    def find(self, name: str) -> list[str]:
        """Hashes of the finished submissions of this name or with this beginning of a hash, newest first."""
        with self._reading() as session:
            called = or_(
                Submission.name == name,
                Submission.hash.startswith(name, autoescape=True) if len(name) >= 8 else false(),
            )
            query = select(Submission.hash).where(called, Submission.state == DONE)
            return list(session.scalars(query.order_by(Submission.created.desc(), Submission.hash)))

    def finished(self) -> list[str]:
        """Hashes of what has a page: everything scored, and tombstones."""
        with self._reading() as session:
            return list(
                session.scalars(
                    select(Submission.hash)
                    .where(Submission.state.in_((DONE, WITHDRAWN)))
                    .order_by(Submission.created)
                )
            )

    def history(self, account: str, name: str) -> list[dict[str, Any]]:
        """All submissions of one account under one name, oldest first: hash, state, created, and where there
        are several their scores {suite: {metric: value}} on public labels."""
        with self._reading() as session:
            owner = select(Account.id).where(Account.name == account).scalar_subquery()
            query = select(Submission.hash, Submission.state, Submission.created).where(
                Submission.account_id == owner, Submission.name == name
            )
            rows: dict[str, dict[str, Any]] = {
                name_hash: {"hash": name_hash, "state": state, "created": created, "scores": {}}
                for name_hash, state, created in session.execute(
                    query.order_by(Submission.created, Submission.hash).limit(200)
                ).tuples()
            }
            if len(rows) < 2:
                return list(rows.values())
            scores = select(Result.submission, Result.suite, Score.metric, Score.value).join(
                Score, Score.result_id == Result.id
            )
            scores = scores.where(Result.submission.in_(list(rows)), Result.split == "public")
            for name_hash, suite, metric, value in session.execute(scores):
                rows[name_hash]["scores"].setdefault(suite, {})[metric] = value
            return list(rows.values())

    def note_version(
        self, suite: str, split: str, version: str, videos: int, questions: int, note: str = ""
    ) -> bool:
        """Remember that a version of a suite is served, with what is new in it; False where it is known."""
        with self._session() as session:
            return self._note_version(session, suite, split, version, videos, questions, note)

    @staticmethod
    def _version(suite: str, split: str, version: str):
        return select(SuiteVersion).where(
            SuiteVersion.suite == suite, SuiteVersion.split == split, SuiteVersion.hash == version
        )

    def _note_version(
        self,
        session: Session,
        suite: str,
        split: str,
        version: str,
        videos: int,
        questions: int,
        note: str = "",
    ) -> bool:
        if (found := session.scalar(self._version(suite, split, version))) is not None:
            found.note = note or found.note
            return False
        try:
            with session.begin_nested():
                session.add(
                    SuiteVersion(
                        suite=suite,
                        split=split,
                        hash=version,
                        since=now(),
                        videos=videos,
                        questions=questions,
                        note=note,
                    )
                )
        except IntegrityError:  # another process at the same moment
            return False
        self._note(session, "server", "suite version", suite, f"{split} {version}")
        return True

    def versions(self, suite: str, split: str = "public") -> list[dict[str, Any]]:
        """Versions of a suite's split, newest first, with the number of finished submissions on each."""
        with self._reading() as session:
            counts = dict(
                session.execute(
                    select(Result.suite_hash, func.count())
                    .join(Submission, Submission.hash == Result.submission)
                    .where(Result.suite == suite, Result.split == split, Submission.state == DONE)
                    .group_by(Result.suite_hash)
                )
                .tuples()
                .all()
            )
            query = (
                select(SuiteVersion)
                .where(SuiteVersion.suite == suite, SuiteVersion.split == split)
                .order_by(SuiteVersion.id.desc())
            )
            return [
                {
                    "hash": v.hash,
                    "since": v.since,
                    "videos": v.videos,
                    "questions": v.questions,
                    "note": v.note,
                    "models": counts.get(v.hash, 0),
                }
                for v in session.scalars(query)
            ]

    def _newest(self, column, suite: str, split: str, version: str, most: int) -> list[Any]:
        """A column of the newest results of a version."""
        with self._reading() as session:
            query = (
                select(column)
                .join(Submission, Submission.hash == Result.submission)
                .where(self._of_version(suite, split, version))
            )
            return list(session.scalars(query.order_by(Result.id.desc()).limit(most)))

    @staticmethod
    def _of_version(suite: str, split: str, version: str):
        return and_(
            Submission.state == DONE,
            Result.suite == suite,
            Result.split == split,
            Result.suite_hash == version,
        )

    def revision(self) -> tuple[int, int]:
        """Another value after every change of what is stored: every change is noted in the audit log. Its
        newest thousand are counted too, because of transactions that end at once the lower number may be seen
        later."""
        with self._reading() as session:
            newest = session.scalar(select(func.max(Audit.id))) or 0
            return newest, session.scalar(select(func.count()).where(Audit.id > newest - 1000)) or 0

    def metrics(self, suite: str, split: str, version: str) -> list[str]:
        """Metrics that the newest results of a version have, in their order."""
        newest = self._newest(Result.metrics, suite, split, version, 20)
        return list(
            dict.fromkeys(
                name for text in newest for name, m in json.loads(text).items() if m["value"] is not None
            )
        )

    def standings(self, suite: str, split: str, version: str, metric: str, wanted: Filter) -> Standings:
        """All results of a version by one metric, in no order: what ranks are made of."""
        shown = [
            or_(
                Submission.name.icontains(wanted.words, autoescape=True),
                Submission.organisation.icontains(wanted.words, autoescape=True),
            )
            if wanted.words
            else true(),
            Submission.open_weights if wanted.open_weights else true(),
            Submission.uses_video if wanted.uses_video else true(),
            ~Submission.baseline if wanted.no_baselines else true(),
            Submission.parameters <= wanted.most if wanted.most is not None else true(),
        ]
        age = func.row_number().over(
            partition_by=(Submission.account_id, Submission.name),
            order_by=(Submission.created.desc(), Submission.hash),
        )
        query = select(
            Result.id,
            Submission.hash,
            Score.value,
            Score.low,
            Score.high,
            and_(*shown).label("shown"),
            age.label("age"),
        )
        query = query.join(Submission, Submission.hash == Result.submission)
        query = query.outerjoin(Score, and_(Score.result_id == Result.id, Score.metric == metric)).where(
            self._of_version(suite, split, version)
        )
        with self._reading() as session:
            rows = [row for row in session.execute(query).tuples() if wanted.older or row[6] == 1]
        columns = list(zip(*rows, strict=True)) if rows else [()] * 7
        value, low, high = (np.array(column, float) for column in columns[2:5])
        return Standings(
            np.array(columns[0], int), np.array(columns[1], str), value, low, high, np.array(columns[5], bool)
        )

    def rows(self, results: list[int], metrics: list[str]) -> dict[int, dict[str, Any]]:
        """What the table shows of some results: submission, card, whether it is flagged, {metric: {value,
        low, high, n}}."""
        with self._reading() as session:
            query = select(Result.id, Submission.hash, Submission.card, Submission.created, Account.name)
            query = query.join(Submission, Submission.hash == Result.submission).join(
                Account, Account.id == Submission.account_id
            )
            found: dict[int, dict[str, Any]] = {
                number: {
                    "hash": name_hash,
                    "account": owner,
                    "card": _card(card),
                    "created": created,
                    "flagged": False,
                    "metrics": {},
                }
                for number, name_hash, card, created, owner in session.execute(
                    query.where(Result.id.in_(results))
                ).tuples()
            }
            chosen = select(Score.result_id, Score.metric, Score.value, Score.low, Score.high, Score.n)
            for number, metric, value, low, high, n in session.execute(
                chosen.where(Score.result_id.in_(results), Score.metric.in_(metrics))
            ).tuples():
                found[number]["metrics"][metric] = {"value": value, "low": low, "high": high, "n": n}
            flagged = set(
                session.scalars(
                    select(Flag.submission).where(
                        Flag.submission.in_([row["hash"] for row in found.values()])
                    )
                )
            )
            for row in found.values():
                row["flagged"] = row["hash"] in flagged
            return found

    def blind(self, suite: str, split: str, version: str) -> dict[str, Any]:
        """What blind baselines score on a version, as its newest result records it."""
        newest = self._newest(Result.blind, suite, split, version, 1)
        return json.loads(newest[0]) if newest else {}

    def results(self, name_hash: str) -> list[dict[str, Any]]:
        """All results of one submission: suite, split, suite_hash, metrics, blind, folder, summary."""
        with self._reading() as session:
            rows = session.scalars(
                select(Result)
                .where(Result.submission == name_hash)
                .order_by(Result.suite, Result.split.desc())
            )
            return [
                {
                    "suite": r.suite,
                    "split": r.split,
                    "suite_hash": r.suite_hash,
                    "metrics": json.loads(r.metrics),
                    "blind": json.loads(r.blind),
                    "folder": r.folder,
                    "summary": json.loads(r.summary),
                }
                for r in rows
            ]

    def flags(self, name_hash: str) -> list[dict[str, Any]]:
        """Flags of a submission, and of others that name it."""
        with self._reading() as session:
            rows = session.scalars(
                select(Flag)
                .where(or_(Flag.submission == name_hash, Flag.other == name_hash))
                .order_by(Flag.id)
            ).all()
            if not rows:
                return []
            pairs = [(flag, flag.other if flag.submission == name_hash else flag.submission) for flag in rows]
            names = dict(
                session.execute(
                    select(Submission.hash, Submission.name).where(
                        Submission.hash.in_([o for _, o in pairs if o])
                    )
                )
                .tuples()
                .all()
            )
            return [
                {
                    "kind": f.kind,
                    "suite": f.suite,
                    "detail": f.detail,
                    "other": other,
                    "name": names.get(other or ""),
                }
                for f, other in pairs
            ]

    def accounts(self) -> list[dict[str, Any]]:
        """All accounts, with the number of their submissions."""
        with self._reading() as session:
            sent = dict(
                session.execute(select(Submission.account_id, func.count()).group_by(Submission.account_id))
                .tuples()
                .all()
            )
            return [
                {
                    "name": a.name,
                    "daily": a.daily,
                    "disabled": a.disabled,
                    "created": a.created,
                    "submissions": sent.get(a.id, 0),
                }
                for a in session.scalars(select(Account).order_by(Account.name))
            ]

    def audit(self, most: int = 100) -> list[dict[str, Any]]:
        """The newest entries of the audit log."""
        with self._reading() as session:
            rows = session.scalars(select(Audit).order_by(Audit.id.desc()).limit(most))
            return [
                {"time": a.time, "who": a.who, "action": a.action, "subject": a.subject, "detail": a.detail}
                for a in rows
            ]
