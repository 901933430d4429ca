"""The queue of submissions: from the moment that one is taken until it is scored, has failed or is withdrawn.

A submission is named by the hash of its content and queued once, however often it is sent. A scorer claims a
job for a time (`lease`), which it lengthens while it is at work (`beat`), and gets a random word for it; a
scorer that dies loses the job when the time is over, and only the one that knows the newest word may finish
it. So every submission is scored exactly once, though two scorers may have worked on it.

What ends a try is either the submission's own fault, and final (`fail`), or the host's: then it waits and is
tried again (`put_back`), a bounded number of times. The state, its reason and the next time change in one
transaction.
"""

import json
import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leaderboard.board.phases import Phases
from leaderboard.card import Card, to_json
from leaderboard.store import disclosure, integrity, lookalikes
from leaderboard.store.results import Scored, add_result, flag
from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import (
    DONE,
    FAILED,
    QUEUED,
    REJECTED,
    REVIEW,
    RUNNING,
    WITHDRAWN,
    Account,
    Audit,
    Rerun,
    Result,
    Scorer,
    Submission,
    now,
)
from leaderboard.store.versions import note_version
from tvad.common.errors import InputError

# Seconds until the next try after the first, second, … that the host's fault has ended: a killed scorer is
# back at once, a disk that fills in the evening is looked after in the morning.
DELAYS = (10, 60, 300, 1800, 7200, 21600, 43200)
ATTEMPTS = len(DELAYS) + 1  # one that takes its scorer down every time would otherwise be tried for ever
STEP = 10  # seconds of scoring are told in whole steps: finer, they might tell of what was compared
DAY = timedelta(days=1)
DAILY = 20  # submissions of an account, where neither the caller nor its row says how many
GONE = "{}"  # the card of a withdrawn submission
LOST = "its scorer was not heard of any more"


class Limited(InputError):
    """An account has sent as much as it may today."""


@dataclass(frozen=True)
class Job:
    """A claimed submission."""

    hash: str
    suites: list[str]
    sent: datetime
    claim: str  # the word that only the scorer that holds it knows


class Queue(Sessions):
    """Submissions on their way."""

    @staticmethod
    def _refused(session: Session, account: str) -> int:
        """Uploads of an account that were refused within a day: they cost as much as others."""
        of_today = (Audit.who == account) & (Audit.action == "refuse") & (Audit.time > now() - DAY)
        return session.scalar(select(func.count()).where(of_today)) or 0

    def may_send(self, account: str, daily: int = DAILY) -> None:
        """Raises Limited for an account with as many refused uploads within a day as it has submissions
        (`daily`, where not set for it): before the next is unpacked."""
        with self._reading() as session:
            own = session.scalars(select(Account.daily).where(Account.name == account)).one()
            most = daily if own is None else own
            if (refused := self._refused(session, account)) >= max(1, most):
                raise Limited(f"{refused} uploads of {account} were refused within a day; wait")

    def refuse(self, account: str, reason: str) -> None:
        """Count an upload that was refused."""
        with self._session() as session:
            note(session, account, "refuse", "upload", reason)

    def submit(
        self,
        account: str,
        name_hash: str,
        card: Card,
        suites: list[str],
        put: Callable[[], None] = lambda: None,
        limits: dict[str, Phases] | None = None,
        approved: bool = True,
        daily: int = DAILY,
    ) -> bool:
        """Queue a submission; False where the same content is there already (whoever sent it). `put` moves
        its files to their place: inside the transaction, so that what is refused has no files there, and what
        is queued has them before anybody can see it. limits: of the private splits, by suite, for the life of
        an account. approved: nobody has to look at it before it is shown. daily: what an account may send
        a day, where not set for it. Raises Limited."""
        try:
            with self._session() as session:
                # Locked: of two that send at once the second counts what the first has sent.
                account_row = select(Account).where(Account.name == account).with_for_update()
                owner = session.scalars(account_row).one()
                if session.get(Submission, name_hash) is not None:
                    return False
                of_today = select(func.count()).where(
                    Submission.account_id == owner.id, Submission.created > now() - DAY
                )
                sent = (session.scalar(of_today) or 0) + self._refused(session, account)
                if sent >= (daily if owner.daily is None else owner.daily):
                    raise Limited(f"{account} has sent {sent} submissions within a day, as many as it may")
                if why := disclosure.within_life(session, owner, card.name, suites, limits or {}):
                    raise Limited(why)
                session.add(
                    Submission(
                        hash=name_hash,
                        account_id=owner.id,
                        name=card.name,
                        card=to_json(card),
                        suites=json.dumps(suites, allow_nan=False),
                        organisation=card.organisation,
                        parameters=card.parameters,
                        open_weights=card.open_weights,
                        uses_video=card.uses_video,
                        baseline=card.baseline,
                        state=QUEUED,
                        approved=approved,
                        created=now(),
                    )
                )
                note(session, account, "submit", name_hash, card.name)
                # Before the files: on PostgreSQL a second sender of the same content waits here for the
                # first, and is refused its row, or goes on where the first was undone.
                session.flush()
                put()
        except IntegrityError:  # the same content at the same moment
            return False
        return True

    def claim(self, seconds: float) -> Job | None:
        """The oldest job whose time has come; None where there is none. It is the caller's for so many
        seconds, and for as many more after every `beat`. Before that, jobs whose scorer has let its time pass
        are put back."""
        token, moment = secrets.token_hex(16), now()
        lapsed = and_(Submission.state == RUNNING, Submission.lease < moment)
        due = and_(
            Submission.state == QUEUED, or_(Submission.next_try.is_(None), Submission.next_try <= moment)
        )
        oldest = (
            select(Submission).where(or_(due, lapsed)).order_by(Submission.created, Submission.hash).limit(1)
        )
        while True:
            with self._session() as session:
                # The row is locked, and rows that another scorer has locked are passed over, so that two get
                # two jobs. SQLite knows no locks of rows: there one transaction writes at a time.
                found = session.scalar(oldest.with_for_update(skip_locked=True))
                if found is None:
                    return None
                if found.state == RUNNING:
                    self._again(session, found, "lost", LOST)
                    continue
                found.state, found.claim, found.error, found.next_try = RUNNING, token, None, None
                found.lease, found.attempts = moment + timedelta(seconds=seconds), found.attempts + 1
                return Job(found.hash, json.loads(found.suites), found.created, token)

    def beat(self, scorer: str, job: Job | None = None, seconds: float = 0.0) -> bool:
        """Say that a scorer is alive; its job, if it holds one, stays its own for so many seconds more.
        False where it does not hold that job any more: it was withdrawn, or has passed to another."""
        moment = now()
        with self._session() as session:
            if (row := session.get(Scorer, scorer)) is not None:
                row.seen = moment
            else:
                # Those long gone, and what a clock that was ahead has left.
                session.execute(
                    delete(Scorer).where(or_(Scorer.seen < moment - DAY, Scorer.seen > moment + DAY))
                )
                session.add(Scorer(name=scorer, began=moment, seen=moment))
            if job is None:
                return True
            found = self._held(session, job)
            if found is not None:
                found.lease = moment + timedelta(seconds=seconds)
            return found is not None

    def leave(self, scorer: str) -> None:
        """A scorer ends, and is not missed."""
        with self._session() as session:
            session.execute(delete(Scorer).where(Scorer.name == scorer))

    @staticmethod
    def _held(session: Session, job: Job) -> Submission | None:
        """The locked row of a job that its scorer still holds; None where the claim has passed to another or
        the submission was withdrawn."""
        query = select(Submission).where(
            Submission.hash == job.hash, Submission.claim == job.claim, Submission.state == RUNNING
        )
        return session.scalar(query.with_for_update())

    @staticmethod
    def _end(session: Session, found: Submission, state: str, who: str, reason: str | None = None) -> None:
        """A job's end, which voids its claim. reason: "KIND: sentence", or none."""
        found.state, found.finished, found.claim = state, now(), None
        found.error = reason and reason.partition(": ")[2]
        note(session, who, "fail" if state == FAILED else state, found.hash, reason or "")

    @classmethod
    def _again(cls, session: Session, found: Submission, kind: str, reason: str, counts: bool = True) -> None:
        """Back into the queue, until its next time; after the last of its tries, failed. counts: this try is
        one of those."""
        if not counts:
            found.attempts -= 1
        elif found.attempts >= ATTEMPTS:
            cls._end(session, found, FAILED, "scorer", f"{kind}: given up after {ATTEMPTS} tries: {reason}")
            return
        pause = timedelta(seconds=DELAYS[found.attempts - 1]) if counts else timedelta()
        found.state, found.claim, found.error, found.next_try = QUEUED, None, reason, now() + pause
        note(session, "scorer", "retry", found.hash, f"{kind}: {reason}")

    def finish(self, job: Job, results: list[Scored], seconds: float = 0.0) -> bool:
        """Keep a job's results and what is doubtful about them; False, and nothing kept, where the claim has
        passed to another scorer or the submission was withdrawn. seconds: that scoring took."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            # In one order, whatever it is: `add_result` locks the version of each, and two scorers that
            # locked them crosswise would wait for each other.
            in_order = sorted(results, key=lambda r: (r.suite, r.split))
            for r in in_order:
                note_version(session, r.suite, r.split, r.suite_hash, r.videos, r.questions)
            for r in in_order:
                add_result(session, found, r)
            private = {r.suite: r for r in results if r.split == disclosure.PRIVATE}
            for suite, detail in integrity.too_good({(r.suite, r.split): r.metrics for r in results}):
                flag(session, found.hash, integrity.TOO_GOOD, private[suite], detail)
            self._flag_lookalike(session, found, in_order)
            found.seconds = STEP * math.ceil(seconds / STEP)
            self._end(session, found, DONE if found.approved else REVIEW, "scorer")
        return True

    @staticmethod
    def _flag_lookalike(session: Session, found: Submission, results: list[Scored]) -> None:
        """Flag a name that is read as another's, on the first of a submission's tables; it rests on no
        label."""
        if results and (pair := lookalikes.resembled(session, found)) is not None:
            later, first = pair
            # Without the other's name, which goes when it is withdrawn.
            detail = "its name is read as that of another account's model, but is written otherwise"
            where = replace(results[0], split="public")
            flag(session, later.hash, lookalikes.LOOKALIKE, where, detail, first.hash)

    def fail(self, job: Job, reason: str, kind: str = "predictions") -> bool:
        """End a job that cannot be scored by a fault of its own; False where the claim has passed to another
        scorer."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            self._end(session, found, FAILED, "scorer", f"{kind}: {reason[:1000]}")
        return True

    def put_back(self, job: Job, reason: str, kind: str, counts: bool = True) -> bool:
        """End a try that the host's fault has ended: the job is tried again, later, or given up after
        `ATTEMPTS`; False where the claim has passed to another scorer. counts: this was one of them."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            self._again(session, found, kind, reason[:1000], counts)
        return True

    def requeue(
        self, name_hash: str, answered: Callable[[str, datetime], object] = lambda suite, sent: None
    ) -> None:
        """Score a failed submission once more, or a waiting one at once, with all its tries before it.
        answered: raises InputError for a suite that is asked otherwise since it was sent
        (`Board.answered`). Raises InputError for that and for one in another state."""
        with self._session() as session:
            found = session.get(Submission, name_hash, with_for_update=True)
            if found is None:
                raise InputError(f"no submission {name_hash[:64]!r}")
            if found.state not in (FAILED, QUEUED):
                raise InputError(
                    f"{name_hash} is {found.state}; only a failed or a queued one can be put back"
                )
            if found.state == FAILED and (found.error or "").startswith(REJECTED):
                raise InputError(f"{name_hash} was rejected, which stays; what it holds may be sent anew")
            for suite in json.loads(found.suites):
                answered(suite, found.created)
            found.state, found.attempts, found.error = QUEUED, 0, None
            found.next_try = found.finished = None
            note(session, "admin", "requeue", name_hash)

    def withdraw(self, account: str | None, name_hash: str) -> None:
        """Take a submission out of the table: its card is emptied, its row stays as a tombstone. The name
        stays in the row, shown to nobody but its account: answers to private splits count for a life. account
        None: the administrator. Raises InputError for one that is not there or belongs to another account, in
        the same words."""
        with self._session() as session:
            found = session.get(Submission, name_hash)
            owner = session.get(Account, found.account_id) if found is not None else None
            if found is None or owner is None or (account is not None and owner.name != account):
                raise InputError(f"no submission {name_hash[:64]!r} of this account")
            # A scorer at work on it holds nothing any more.
            found.state, found.claim, found.error, found.next_try = WITHDRAWN, None, None, None
            found.card, found.organisation, found.parameters, found.finished = GONE, "", None, now()
            session.execute(update(Result).where(Result.submission == name_hash).values(summary="{}"))
            session.execute(delete(Rerun).where(Rerun.submission == name_hash))
            note(session, account or "admin", "withdraw", name_hash)
        if self.engine.dialect.name == "sqlite":
            # Into the file: the log before it still holds what stood there (PostgreSQL's is gone by vacuum).
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

    def withdrawn(self, name_hash: str | None = None) -> dict[str, list[str]]:
        """Withdrawn submissions, or one, with the folders of scored runs that were theirs alone."""
        query = (
            select(Submission.hash, Result.folder)
            .outerjoin(Result, Result.submission == Submission.hash)
            .where(Submission.state == WITHDRAWN)
        )
        alive = (
            select(Result.folder)
            .join(Submission, Submission.hash == Result.submission)
            .where(Submission.state != WITHDRAWN, Result.folder.is_not(None))
        )
        found: dict[str, list[str]] = {}
        with self._reading() as session:
            for one, folder in session.execute(
                query if name_hash is None else query.where(Submission.hash == name_hash)
            ):
                found.setdefault(one, [])
                if folder is not None and session.scalar(alive.where(Result.folder == folder)) is None:
                    found[one].append(folder)
        return found
