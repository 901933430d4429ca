"""Submissions whose model the administrator has run again (`leaderboard.scoring.rerunning`): whether that
bore out what was sent. The newest word on a table counts; earlier ones stay in the audit log."""

import json
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import DONE, Rerun, Submission, now
from tvad.common.errors import InputError


def words(verified: bool) -> str:
    return "verified" if verified else "differs"


def rerun_of(session: Session, hashes: list[str], suite: str) -> dict[str, str]:
    """{submission: "verified" or "differs"} of those that were run again on a table."""
    query = select(Rerun.submission, Rerun.verified).where(Rerun.suite == suite, Rerun.submission.in_(hashes))
    return {name: words(verified) for name, verified in session.execute(query).tuples()}


class Reruns(Sessions):
    """What came of running models again."""

    def note_rerun(
        self, name_hash: str, suite: str, version: str, model: str, verified: bool, detail: dict[str, Any]
    ) -> None:
        """Keep what a rerun on a table's public labels has shown. Raises InputError for a submission that is
        not shown any more."""
        with self._session() as session:
            found = session.get(Submission, name_hash, with_for_update=True)
            if found is None or found.state != DONE:
                raise InputError(f"{name_hash[:64]} is not scored, or was withdrawn")
            session.execute(delete(Rerun).where(Rerun.submission == name_hash, Rerun.suite == suite))
            text = json.dumps(detail, allow_nan=False)
            session.add(
                Rerun(
                    submission=name_hash,
                    suite=suite,
                    version=version,
                    model=model,
                    verified=verified,
                    detail=text,
                    created=now(),
                )
            )
            note(session, "admin", "rerun", name_hash, f"{suite}: {words(verified)}: {model}: {text}")

    def reruns(self, name_hash: str) -> list[dict[str, Any]]:
        """What was found: suite, version, model, verdict ("verified", "differs"), created, answers (the share
        that says the same, and of how many), metrics {name: {value, low, high, again}}."""
        query = select(Rerun).join(Submission, Submission.hash == Rerun.submission).order_by(Rerun.suite)
        with self._reading() as session:
            return [
                {
                    "suite": row.suite,
                    "version": row.version,
                    "model": row.model,
                    "verdict": words(row.verified),
                    "created": row.created,
                    **json.loads(row.detail),
                }
                for row in session.scalars(
                    query.where(Rerun.submission == name_hash, Submission.state == DONE)
                )
            ]
