"""Looking up submissions: by hash, by name, those of one name in time."""

import json
import re
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.orm import Session

from bench.tasks import PRIMARIES
from leaderboard.card import from_json
from leaderboard.store.moderation import speaks_for
from leaderboard.store.sessions import Sessions
from leaderboard.store.tables import (
    DONE,
    FAILED,
    QUEUED,
    REVIEW,
    RUNNING,
    WITHDRAWN,
    Account,
    Result,
    Score,
    Submission,
)
from leaderboard.store.watch import waiting

BEGINNING = 8  # fewest characters of a hash that are taken for one: fewer may be a name
HASH = re.compile(rf"[0-9a-fA-F]{{{BEGINNING},64}}")
MOST_HISTORY = 200  # submissions of one name


def named_by(connection: Connection | Session) -> set[str]:
    """Folders, below the board's, that the rows name: of one that failed too, which may be queued again."""
    alive = (QUEUED, RUNNING, REVIEW, DONE, FAILED)
    sent = select(Submission.hash).where(Submission.state.in_(alive))
    runs = select(Result.folder).join(Submission, Submission.hash == Result.submission)
    runs = runs.where(Submission.state.in_((REVIEW, DONE)), Result.folder.is_not(None))
    return {f"submissions/{name}" for name in connection.scalars(sent)} | {
        f"scored/{name}" for name in connection.scalars(runs)
    }


class Submissions(Sessions):
    """What is known of submissions, scored or not."""

    def status(self, name_hash: str) -> dict[str, Any] | None:
        """Everything public about one submission; None for an unknown one; of one that is not approved how
        far it is, and nothing that its submitter wrote or who rejected it; of a withdrawn one its hash, state
        and times: `name` and `card` are None. `waits` is, of a queued one, the reason, its next time and its
        tries; `error` is, of a failed one, why."""
        query = (
            select(Submission, Account.name, Account.organisation)
            .join(Account, Account.id == Submission.account_id)
            .where(Submission.hash == name_hash)
        )
        with self._reading() as session:
            found = session.execute(query).first()
            if found is None:
                return None
            row, owner, verified = found
            older = select(func.count()).where(
                Submission.state == QUEUED,
                or_(
                    Submission.created < row.created,
                    and_(Submission.created == row.created, Submission.hash < row.hash),
                ),
            )
            queued, gone = row.state == QUEUED, row.state == WITHDRAWN
            shown = {
                "account": None if gone else owner,
                "name": None if gone else row.name,
                "card": None if gone else from_json(row.card),
                "verified": not gone and speaks_for(row.organisation, verified),
                "suites": [] if gone else json.loads(row.suites),
            }
            return {
                "hash": row.hash,
                "approved": row.approved,
                **(shown if row.approved or gone else {}),
                "state": row.state,
                "error": None if queued or not (row.approved or gone) else row.error,
                "waits": waiting(row, session.scalar(older) or 0) if queued else None,
                "created": row.created,
                "finished": row.finished,
            }

    def named(self) -> set[str]:
        """Folders, below the board's, that the rows name now."""
        with self._reading() as session:
            return named_by(session)

    def of_account(self, account: str, most: int = 200) -> list[dict[str, Any]]:
        """An account's newest submissions in every state: hash, name, suites, state, created, finished, and
        as in `status` error and waits."""
        query = (
            select(Submission)
            .join(Account, Account.id == Submission.account_id)
            .where(Account.name == account)
            .order_by(Submission.created.desc(), Submission.hash)
            .limit(most)
        )
        place = func.row_number().over(order_by=(Submission.created, Submission.hash))
        with self._reading() as session:
            rows = session.scalars(query).all()
            queued = select(Submission.hash, place).where(Submission.state == QUEUED)
            before: dict[str, int] = dict(session.execute(queued).tuples().all())
            return [
                {
                    "hash": row.hash,
                    "name": row.name,
                    "suites": json.loads(row.suites),
                    "state": row.state,
                    "created": row.created,
                    "finished": row.finished,
                    "error": None if row.state == QUEUED else row.error,
                    "waits": waiting(row, before[row.hash] - 1) if row.state == QUEUED else None,
                }
                for row in rows
            ]

    def find(self, named: str) -> list[dict[str, Any]]:
        """Finished submissions that a text names, newest first: {hash, account, name, created} each. What
        could be a hash or its beginning (`BEGINNING` hexadecimal digits or more) is one, whatever models are
        called; OWNER/NAME is the newest of an account under a name; any other text is a name, and stands for
        the newest of every account. Several are an ambiguity that the caller has to refuse."""
        query = (
            select(Submission.hash, Account.name, Submission.name, Submission.created)
            .join(Account, Account.id == Submission.account_id)
            .where(Submission.state == DONE)
            .order_by(Submission.created.desc(), Submission.hash)
        )
        if HASH.fullmatch(named):
            query = query.where(Submission.hash.startswith(named.lower()))
        elif "/" in named:  # a name may hold one too: then its owner has to be said as well
            query = query.where(Account.name + "/" + Submission.name == named)
        else:
            query = query.where(Submission.name == named)
        with self._reading() as session:
            rows = [
                {"hash": name_hash, "account": owner, "name": name, "created": created}
                for name_hash, owner, name, created in session.execute(query).tuples()
            ]
        if HASH.fullmatch(named):
            return rows
        newest: dict[tuple[Any, Any], dict[str, Any]] = {}
        for row in rows:
            newest.setdefault((row["account"], row["name"]), row)
        return list(newest.values())

    def result_number(self, name_hash: str, suite: str, split: str) -> int | None:
        """The number of a finished submission's result, by which tables are asked for its figures."""
        query = (
            select(Result.id)
            .join(Submission, Submission.hash == Result.submission)
            .where(Result.submission == name_hash, Result.suite == suite, Result.split == split)
            .where(Submission.state == DONE)
        )
        with self._reading() as session:
            return session.scalar(query)

    def finished(self) -> list[str]:
        """Hashes of what has a page: everything scored, and tombstones."""
        query = (
            select(Submission.hash)
            .where(Submission.state.in_((DONE, WITHDRAWN)))
            .order_by(Submission.created)
        )
        with self._reading() as session:
            return list(session.scalars(query))

    def history(self, account: str, name: str) -> list[dict[str, Any]]:
        """All submissions of one account under one name, oldest first: hash, state, created, and where there
        are several their first metrics {suite: {metric: value}} on public labels."""
        owner = select(Account.id).where(Account.name == account).scalar_subquery()
        query = (
            select(Submission.hash, Submission.state, Submission.created)
            .where(Submission.account_id == owner, Submission.name == name, Submission.approved)
            .order_by(Submission.created, Submission.hash)
            .limit(MOST_HISTORY)
        )
        with self._reading() as session:
            rows: dict[str, dict[str, Any]] = {
                name_hash: {"hash": name_hash, "state": state, "created": created, "scores": {}}
                for name_hash, state, created in session.execute(query).tuples()
            }
            if len(rows) < 2:
                return list(rows.values())
            scores = (
                select(Result.submission, Result.suite, Score.metric, Score.value)
                .join(Score, Score.result_id == Result.id)
                .join(Submission, Submission.hash == Result.submission)
                .where(
                    Result.submission.in_(list(rows)),
                    Result.split == "public",
                    Submission.state != WITHDRAWN,
                    Score.metric.in_(PRIMARIES),
                )
            )
            for name_hash, suite, metric, value in session.execute(scores).tuples():
                rows[name_hash]["scores"].setdefault(suite, {})[metric] = value
            return list(rows.values())
