"""Who a provider of identities (OpenID Connect) says that somebody is, and attempts to sign in by it. An
attempt is kept here between the two ends of it, for one use by the browser that began it."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from leaderboard.store.accounts import Accounts, hashed
from leaderboard.store.sessions import note
from leaderboard.store.tables import Account, Attempt, Identity, now
from tvad.common.errors import InputError

ATTEMPT = timedelta(minutes=10)  # from its beginning to its end
SIMILAR = 100  # accounts of one name


@dataclass(frozen=True)
class Begun:
    """An attempt that has come back."""

    nonce: str
    verifier: str
    account: str | None  # that the browser was signed in as when it began


class Identities(Accounts):
    """Signing in by a provider."""

    def begin_attempt(self, browser: str, nonce: str, verifier: str, account: str | None) -> str:
        """Remember an attempt of the browser that holds the word `browser`; returns its state."""
        state = secrets.token_urlsafe(32)
        with self._session() as session:
            session.execute(delete(Attempt).where(Attempt.expires < now()))
            session.add(
                Attempt(
                    state_hash=hashed(state),
                    browser_hash=hashed(browser),
                    nonce=nonce,
                    verifier=verifier,
                    account=account,
                    expires=now() + ATTEMPT,
                )
            )
        return state

    def end_attempt(self, state: str, browser: str) -> Begun | None:
        """The attempt of a state, once; None for an unknown, used or late one, or another browser's."""
        with self._session() as session:
            row = session.get(Attempt, hashed(state), with_for_update=True)
            if row is None:
                return None
            session.delete(row)
            if row.expires < now() or row.browser_hash != hashed(browser):
                return None
            return Begun(row.nonce, row.verifier, row.account)

    def identified(self, issuer: str, subject: str) -> str | None:
        """The account that a provider's subject signs in as, disabled or not; None for none."""
        query = (
            select(Account.name)
            .join(Identity, Identity.account_id == Account.id)
            .where(Identity.issuer == issuer, Identity.subject == subject)
        )
        with self._reading() as session:
            return session.scalar(query)

    def identities(self, account: str) -> list[dict[str, Any]]:
        """The identities that sign in as an account: {issuer, subject, created} each, oldest first."""
        query = (
            select(Identity)
            .join(Account, Account.id == Identity.account_id)
            .where(Account.name == account)
            .order_by(Identity.created)
        )
        with self._reading() as session:
            return [
                {"issuer": row.issuer, "subject": row.subject, "created": row.created}
                for row in session.scalars(query)
            ]

    def identify(self, account: str, issuer: str, subject: str) -> None:
        """Let a provider's subject sign in as an account. Raises InputError where it does as another."""
        if self.identified(issuer, subject) == account:
            return
        try:
            with self._session() as session:
                owner = session.scalars(select(Account).where(Account.name == account)).one()
                session.add(Identity(issuer=issuer, subject=subject, account_id=owner.id, created=now()))
                note(session, account, "identify", account, f"{issuer} {subject}")
        except IntegrityError as error:
            raise InputError("this identity belongs to another account already") from error

    def account_for(self, issuer: str, subject: str, name: str) -> str:
        """A new account for a provider's subject, called `name`, or `name 2`, `name 3`, … where that is
        taken: what a provider calls somebody opens no account that is there."""
        for n in range(1, SIMILAR):
            chosen = name if n == 1 else f"{name[:95]} {n}"
            try:
                self.create_account(chosen)
            except InputError:
                continue
            self.identify(chosen, issuer, subject)
            return chosen
        raise InputError(f"too many accounts are called {name!r}")
