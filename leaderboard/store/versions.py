"""Versions of suites. A version is the hash of everything that is asked and of the references; a changed
suite begins a table of its own, and rows of different versions are never compared."""

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import DONE, Result, Submission, SuiteVersion, now


def version_row(suite: str, split: str, version: str) -> Select[SuiteVersion]:
    """The query for a version's row."""
    return select(SuiteVersion).where(
        SuiteVersion.suite == suite, SuiteVersion.split == split, SuiteVersion.hash == version
    )


def note_version(
    session: Session, suite: str, split: str, version: str, videos: int, questions: int, news: str = ""
) -> bool:
    """Remember a version, with what is new in it; False where it is known."""
    if (found := session.scalar(version_row(suite, split, version))) is not None:
        found.note = news or found.note
        return False
    added = SuiteVersion(
        suite=suite, split=split, hash=version, since=now(), videos=videos, questions=questions, note=news
    )
    try:
        with session.begin_nested():  # a savepoint: the rest of the transaction outlives a refused row
            session.add(added)
    except IntegrityError:  # another process at the same moment
        return False
    note(session, "server", "suite version", suite, f"{split} {version}")
    return True


class Versions(Sessions):
    """The changelog of suites."""

    def note_version(
        self, suite: str, split: str, version: str, videos: int, questions: int, news: str = ""
    ) -> bool:
        """Remember that a version of a suite is served, with what is new in it; False where it is known."""
        with self._session() as session:
            return note_version(session, suite, split, version, videos, questions, news)

    def versions(self, suite: str, split: str = "public") -> list[dict[str, Any]]:
        """Versions of a suite's split, newest first, with the number of finished submissions on each."""
        counted = (
            select(Result.suite_hash, func.count())
            .join(Submission, Submission.hash == Result.submission)
            .where(Result.suite == suite, Result.split == split, Submission.state == DONE)
            .group_by(Result.suite_hash)
        )
        newest_first = (
            select(SuiteVersion)
            .where(SuiteVersion.suite == suite, SuiteVersion.split == split)
            .order_by(SuiteVersion.id.desc())
        )
        with self._reading() as session:
            counts = dict(session.execute(counted).tuples().all())
            return [
                {
                    "hash": v.hash,
                    "since": v.since,
                    "videos": v.videos,
                    "questions": v.questions,
                    "note": v.note,
                    "models": counts.get(v.hash, 0),
                    "ends": v.ends,
                    "ended": v.ended,
                }
                for v in session.scalars(newest_first)
            ]
