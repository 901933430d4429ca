"""The queue of submissions: from the moment that one is taken until it is scored, has failed or is withdrawn.

A submission is named by the hash of its content and queued once, however often it is sent. A scorer claims a
job for a time (`lease`) and gets a random word for it; a scorer that dies loses the job to the next one when
the time is over, and only the one that knows the newest word may finish it. So every submission is scored
exactly once, though two scorers may have worked on it.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leaderboard.card import Card, to_json
from leaderboard.store import integrity
from leaderboard.store.results import Scored, add_result, flag
from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import DONE, FAILED, QUEUED, RUNNING, WITHDRAWN, Account, Submission, now
from leaderboard.store.versions import note_version
from tvad.common.errors import InputError

ATTEMPTS = 3  # claims of a job; one that takes its scorer down every time would otherwise be tried for ever
DAY = timedelta(days=1)


class Limited(InputError):
    """An account has sent as much as it may today."""


@dataclass(frozen=True)
class Job:
    """A claimed submission."""

    hash: str
    suites: list[str]
    claim: str  # the word that only the scorer that holds it knows


class Queue(Sessions):
    """Submissions on their way."""

    def submit(
        self,
        account: str,
        name_hash: str,
        card: Card,
        suites: list[str],
        put: Callable[[], None] = lambda: None,
    ) -> bool:
        """Queue a submission; False where the same content is there already (whoever sent it). `put` moves
        its files to their place: inside the transaction, so that what is refused has no files there, and what
        is queued has them before anybody can see it. Raises Limited."""
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
                sent = session.scalar(of_today) or 0
                if sent >= owner.daily:
                    raise Limited(f"{account} has sent {sent} submissions within a day, as many as it may")
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
        """The oldest job that waits, or whose scorer has not finished within its lease; None where there is
        none. It is the caller's for so many seconds and never renewed: the limit of the scoring process is
        shorter (`scorer.SPARE`). A job that has been claimed `ATTEMPTS` times without an
        end is failed."""
        token, moment = secrets.token_hex(16), now()
        waiting = or_(
            Submission.state == QUEUED, and_(Submission.state == RUNNING, Submission.lease < moment)
        )
        oldest = select(Submission).where(waiting).order_by(Submission.created, Submission.hash).limit(1)
        while True:
            with self._session() as session:
                # The row is locked, and rows that another scorer has locked are passed over, so that two get
                # two jobs. SQLite knows no locks of rows: there one transaction writes at a time.
                found = session.scalar(oldest.with_for_update(skip_locked=True))
                if found is None:
                    return None
                if found.attempts < ATTEMPTS:
                    found.state, found.claim = RUNNING, token
                    found.lease, found.attempts = moment + timedelta(seconds=seconds), found.attempts + 1
                    return Job(found.hash, json.loads(found.suites), token)
                self._end(session, found, FAILED, "scorer", f"scoring did not end in {ATTEMPTS} attempts")

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
        """A job's end, which voids its claim."""
        found.state, found.error, found.finished, found.claim = state, reason, now(), None
        note(session, who, "fail" if state == FAILED else state, found.hash, reason or "")

    def finish(self, job: Job, results: list[Scored]) -> bool:
        """Keep a job's results and what is doubtful about them; False, and nothing kept, where the claim has
        passed to another scorer or the submission was withdrawn."""
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
            for suite, detail in integrity.too_good({(r.suite, r.split): r.metrics for r in results}):
                flag(session, found.hash, integrity.TOO_GOOD, suite, detail)
            self._end(session, found, DONE, "scorer")
        return True

    def fail(self, job: Job, reason: str) -> bool:
        """End a job that cannot be scored; False where the claim has passed to another scorer."""
        with self._session() as session:
            found = self._held(session, job)
            if found is None:
                return False
            self._end(session, found, FAILED, "scorer", reason[:1000])
        return True

    def withdraw(self, account: str | None, name_hash: str) -> None:
        """Take a submission out of the table; its row stays as a tombstone. account None: the administrator.
        Raises InputError for one that is not there or belongs to another account, in the same words."""
        with self._session() as session:
            found = session.get(Submission, name_hash)
            owner = session.get(Account, found.account_id) if found is not None else None
            if found is None or owner is None or (account is not None and owner.name != account):
                raise InputError(f"no submission {name_hash[:64]!r} of this account")
            found.state, found.claim = WITHDRAWN, None  # a scorer at work on it holds nothing any more
            note(session, account or "admin", "withdraw", name_hash)
