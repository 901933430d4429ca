"""Results of scored submissions, which never change, and the flags that are raised when they are added."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import insert, or_, select
from sqlalchemy.orm import Session

from leaderboard.store import integrity
from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import DONE, Flag, Result, Score, Submission
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
    session: Session, name_hash: str, kind: str, suite: str, detail: str, other: str | None = None
) -> None:
    """Raise a flag on a submission."""
    session.add(Flag(submission=name_hash, kind=kind, suite=suite, other=other, detail=detail))
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
    """Flags for finished submissions of others whose answers are nearly these. The version's row is locked
    until the end of the transaction, so that of two that end together one sees the other."""
    version = version_row(scored.suite, scored.split, scored.suite_hash)
    session.scalars(version.with_for_update()).one()
    query = (
        select(Submission.hash, Result.signature)
        .join(Result, Result.submission == Submission.hash)
        .where(
            Result.suite == scored.suite,
            Result.split == scored.split,
            Result.suite_hash == scored.suite_hash,
            Submission.state == DONE,
            Result.signature.is_not(None),
            # The next try of the same account under the same name may well resemble its last one.
            or_(Submission.account_id != submission.account_id, Submission.name != submission.name),
        )
    )
    others = session.execute(query).all()
    for place, detail in integrity.resembling(signature, [other.signature for other in others]):
        other = others[place].hash
        flag(session, submission.hash, integrity.NEAR_DUPLICATE, scored.suite, detail, other)


class Results(Sessions):
    """What a model's page shows of its scores."""

    def results(self, name_hash: str) -> list[dict[str, Any]]:
        """All results of one submission: suite, split, suite_hash, metrics, blind, folder, summary."""
        query = (
            select(Result)
            .where(Result.submission == name_hash)
            .order_by(Result.suite, Result.split.desc())  # the public split first
        )
        with self._reading() as session:
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
                for r in session.scalars(query)
            ]

    def flags(self, name_hash: str) -> list[dict[str, Any]]:
        """Flags of a submission, and of others that name it: kind, suite, detail, and the other's hash and
        name."""
        query = (
            select(Flag).where(or_(Flag.submission == name_hash, Flag.other == name_hash)).order_by(Flag.id)
        )
        with self._reading() as session:
            pairs = [
                (row, row.other if row.submission == name_hash else row.submission)
                for row in session.scalars(query)
            ]
            if not pairs:
                return []
            others = [other for _, other in pairs if other]
            named = select(Submission.hash, Submission.name).where(Submission.hash.in_(others))
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
