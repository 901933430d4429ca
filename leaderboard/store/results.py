"""Results of scored submissions, which never change, and the flags that are raised when they are added."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from leaderboard.store import disclosure, integrity
from leaderboard.store.disclosure import Disclosure
from leaderboard.store.sessions import note
from leaderboard.store.tables import DONE, REVIEW, WITHDRAWN, Flag, Result, Score, Submission
from leaderboard.store.versions import version_row


@dataclass(frozen=True)
class Scored:
    """What scoring a submission on one suite gave."""

    suite: str  # the table's name
    split: str
    suite_hash: str
    metrics: dict[str, dict]  # {metric: {value, low, high, n}}
    blind: dict[str, Any]  # `bench.blind.record`
    folder: str | None = None  # the scored run, named by its content
    summary: dict[str, Any] = field(default_factory=dict)
    signature: str | None = None  # hexadecimal
    videos: int = 0
    questions: int = 0


def flag(
    session: Session, name_hash: str, kind: str, scored: Scored, detail: str, other: str | None = None
) -> None:
    """Raise a flag on a submission, for what its result `scored` (or another's) says."""
    session.add(
        Flag(
            submission=name_hash,
            kind=kind,
            suite=scored.suite,
            split=scored.split,
            version=scored.suite_hash,
            other=other,
            detail=detail,
        )
    )
    note(session, "scorer", "flag", name_hash, f"{detail} {other}" if other else detail)


def _score_rows(result: int, metrics: dict[str, dict]) -> Iterator[dict[str, Any]]:
    """The defined metrics as rows of `Score`."""
    for name, m in metrics.items():
        if m["value"] is not None:
            yield {
                "result_id": result,
                "metric": name,
                "value": m["value"],
                "low": m["low"],
                "high": m["high"],
                "n": m["n"],
            }


def add_result(session: Session, submission: Submission, scored: Scored) -> None:
    """Add a result of a submission, with its scores, and flag what it resembles."""
    signature = bytes.fromhex(scored.signature) if scored.signature else None
    if signature:
        _flag_resemblances(session, submission, scored, signature)
    row = Result(
        submission=submission.hash,
        suite=scored.suite,
        split=scored.split,
        suite_hash=scored.suite_hash,
        metrics=json.dumps(scored.metrics, allow_nan=False),
        blind=json.dumps(scored.blind, allow_nan=False),
        folder=scored.folder,
        summary=json.dumps(scored.summary, allow_nan=False),
        signature=signature,
    )
    session.add(row)
    session.flush()  # gives the row its number
    if scores := list(_score_rows(row.id, scored.metrics)):
        session.execute(insert(Score), scores)


def _flag_resemblances(session: Session, submission: Submission, scored: Scored, signature: bytes) -> None:
    """Flags for what is nearly another's answers, or looks assembled from an earlier submission: on the later
    one of two, whichever was scored first. The version's row is locked until the end of the transaction, so
    that of two that end together one sees the other."""
    version = version_row(scored.suite, scored.split, scored.suite_hash)
    session.scalars(version.with_for_update()).one()
    query = (
        select(Submission.hash, Submission.created, Submission.account_id, Submission.name, Result.signature)
        .join(Result, Result.submission == Submission.hash)
        .where(
            Result.suite == scored.suite,
            Result.split == scored.split,
            Result.suite_hash == scored.suite_hash,
            Submission.state.in_((DONE, REVIEW)),
            Result.signature.is_not(None),
        )
    )
    others = session.execute(query).all()
    this = (submission.created, submission.hash)

    def found(kind: str, place: int, detail: str) -> None:
        first, later = sorted([this, (others[place].created, others[place].hash)])
        flag(session, later[1], kind, scored, detail, first[1])

    signatures = [other.signature for other in others]
    for place, detail in integrity.resembling(signature, signatures):
        # The next try of the same account under the same name may well resemble its last one.
        if (others[place].account_id, others[place].name) != (submission.account_id, submission.name):
            found(integrity.NEAR_DUPLICATE, place, detail)
    if scored.split == disclosure.PRIVATE:  # whose labels nobody could have assembled it by
        return
    earlier = [(other.created, other.hash) < this for other in others]
    for place, detail in integrity.assembled(signature, signatures, earlier):
        found(integrity.ASSEMBLED, place, detail)


class Results(Disclosure):
    """What a model's page shows of its scores."""

    def results(self, name_hash: str) -> list[dict[str, Any]]:
        """All results of one submission, as they are given out (`disclosure`): suite, split, suite_hash,
        metrics, blind, folder, summary; held: why there are no figures."""
        query = (
            select(Result, disclosure.stands())
            .join(Submission, Submission.hash == Result.submission)
            .where(Result.submission == name_hash)
            .order_by(Result.suite, Result.split.desc())  # the public split first
        )
        with self._reading() as session:
            return [
                self.disclosed(
                    session,
                    {
                        "suite": r.suite,
                        "split": r.split,
                        "suite_hash": r.suite_hash,
                        "metrics": json.loads(r.metrics),
                        "blind": json.loads(r.blind),
                        "folder": r.folder,
                        "summary": json.loads(r.summary),
                    },
                    standing,
                )
                for r, standing in session.execute(query).tuples()
            ]

    def flags(self, name_hash: str) -> list[dict[str, Any]]:
        """Flags of a submission that may be shown: kind, suite, detail, and hash and name of the one that it
        resembles. One that another resembles has none: it came first."""
        query = select(Flag).where(Flag.submission == name_hash, disclosure.visible()).order_by(Flag.id)
        with self._reading() as session:
            pairs = [(row, row.other) for row in session.scalars(query)]
            if not pairs:
                return []
            others = [other for _, other in pairs if other]
            named = select(Submission.hash, Submission.name).where(
                Submission.hash.in_(others), Submission.state != WITHDRAWN, Submission.approved
            )
            names = dict(session.execute(named).tuples().all())
            return [
                {
                    "kind": row.kind,
                    "suite": row.suite,
                    "detail": row.detail,
                    "other": other,
                    "name": names.get(other or ""),
                }
                for row, other in pairs
            ]
