"""What an administrator decides of submissions and accounts: whether a submission is shown, whether an
account speaks for the organisation that its cards name."""

import unicodedata
from typing import Any

from sqlalchemy import select

from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import DONE, FAILED, REJECTED, REVIEW, WITHDRAWN, Account, Submission, now
from tvad.common.errors import InputError


def speaks_for(organisation: str, verified: str) -> bool:
    """Whether a card's organisation is the one that is verified of its account."""
    alike = [
        " ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in (organisation, verified)
    ]
    return bool(verified) and alike[0] == alike[1]


class Moderation(Sessions):
    """Approving, rejecting, verifying."""

    def pending(self) -> list[dict[str, Any]]:
        """Submissions that wait to be approved, oldest first: hash, account, name, organisation, state,
        created."""
        query = (
            select(Submission, Account.name)
            .join(Account, Account.id == Submission.account_id)
            .where(Submission.approved.is_(False), Submission.state.not_in((FAILED, WITHDRAWN)))
            .order_by(Submission.created, Submission.hash)
        )
        with self._reading() as session:
            return [
                {
                    "hash": row.hash,
                    "account": owner,
                    "name": row.name,
                    "organisation": row.organisation,
                    "state": row.state,
                    "created": row.created,
                }
                for row, owner in session.execute(query).tuples()
            ]

    def approve(self, name_hash: str) -> None:
        """Show a submission, from now on or as soon as it is scored. Raises InputError for one that does not
        wait for that."""
        with self._session() as session:
            found = self._waiting(session, name_hash)
            found.approved = True
            if found.state == REVIEW:
                found.state = DONE
            note(session, "admin", "approve", name_hash)

    def reject(self, name_hash: str, reason: str = "") -> None:
        """Never show a submission; its submitter is told why. Raises InputError for one that does not wait to
        be approved."""
        with self._session() as session:
            found = self._waiting(session, name_hash)
            found.state, found.finished, found.claim, found.next_try = FAILED, now(), None, None
            found.error = REJECTED + (f": {reason[:900]}" if reason else "")
            note(session, "admin", "reject", name_hash, reason)

    @staticmethod
    def _waiting(session, name_hash: str) -> Submission:
        found = session.get(Submission, name_hash, with_for_update=True)
        if found is None or found.approved or found.state in (FAILED, WITHDRAWN):
            raise InputError(f"{name_hash[:64]} does not wait to be approved")
        return found

    def verify_organisation(self, account: str, organisation: str) -> None:
        """Say that an account speaks for an organisation; empty: for none any more. Raises InputError."""
        with self._session() as session:
            found = session.scalar(select(Account).where(Account.name == account).with_for_update())
            if found is None:
                raise InputError(f"no account {account!r}")
            if len(organisation) > 100:
                raise InputError("an organisation's name has at most 100 characters")
            found.organisation = organisation
            note(session, "admin", "verify organisation", account, organisation)
