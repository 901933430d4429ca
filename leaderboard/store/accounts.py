"""Accounts and their tokens. A token is 256 random bits, shown once; kept is its SHA-256, for which no salt
is needed: there is nothing to guess."""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from leaderboard.store.sessions import Sessions, note
from leaderboard.store.tables import Account, Attempt, Identity, Login, Submission, now
from tvad.common.errors import InputError

NAME = re.compile(r"(?=.{1,100}\Z)[A-Za-z0-9][A-Za-z0-9._-]*( [A-Za-z0-9._-]+)*")
SIGNED_IN = timedelta(hours=12)  # that a browser stays so
RESERVED = ("admin", "scorer", "server")  # who else acts in the audit log

Identified = tuple[str, str]  # an identity: issuer and subject


def check_name(name: str) -> None:
    """Raises InputError for what is no account's name: ASCII, so that nothing unseen and no letter of another
    alphabet is in it."""
    if not NAME.fullmatch(name):
        raise InputError("a name takes letters, digits, single spaces, '.', '_' and '-', at most 100")
    if poses(name):
        raise InputError(f"{name!r} is the board's own: {', '.join(RESERVED)} are no accounts")


def _look(name: str) -> str:
    """The same for names that are easily taken for each other: case and what stands between letters."""
    return re.sub("[ ._-]", "", name.lower())


def poses(name: str) -> bool:
    """Whether the audit log could not tell an account of this name from the board."""
    return _look(name) in RESERVED


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _new_token() -> str:
    return f"lb_{secrets.token_urlsafe(32)}"


def _account(session: Session, name: str) -> Account:
    account = session.scalar(select(Account).where(Account.name == name))
    if account is None:
        raise InputError(f"no account {name!r}")
    return account


class Accounts(Sessions):
    """Who may submit."""

    def create_account(self, name: str, daily: int | None = None) -> str:
        """A new account that may send `daily` submissions a day, None: as many as the board says; returns its
        token, which is shown once and kept nowhere. Raises InputError for what is no name, and for one that
        is taken or looks so."""
        check_name(name)
        token = _new_token()
        try:
            with self._session() as session:
                if session.get_bind().dialect.name == "postgresql":  # two that look alike, at the same moment
                    session.execute(text("SELECT pg_advisory_xact_lock(748)"))
                for other in session.scalars(select(Account.name)):
                    if _look(other) == _look(name):
                        raise InputError(f"account {other!r} exists already")
                session.add(Account(name=name, token_hash=hashed(token), daily=daily, created=now()))
                note(session, "admin", "create account", name)
        except IntegrityError as error:
            raise InputError(f"account {name!r} exists already") from error
        return token

    def renew_token(self, name: str, who: str = "admin", keep: Identified | None = None) -> str:
        """A new token for an account; the old one is void at once, every browser is signed out and every
        identity but `keep` untied, whose attempts end: who asks for a new token may have lost more than the
        old one. Raises InputError for an unknown account and a disabled one."""
        token = _new_token()
        with self._session() as session:
            account = _account(session, name)
            if account.disabled:
                raise InputError(f"account {name!r} is disabled: its token would open nothing")
            account.token_hash = hashed(token)
            session.execute(delete(Login).where(Login.account_id == account.id))
            session.execute(delete(Attempt).where(Attempt.account == name))
            untied = delete(Identity).where(Identity.account_id == account.id)
            if keep is not None:
                untied = untied.where(or_(Identity.issuer != keep[0], Identity.subject != keep[1]))
            session.execute(untied)
            note(session, who, "renew token", name)
        return token

    def limit_account(self, name: str, daily: int | None) -> None:
        """Let an account send so many submissions a day; None: as many as the board says. Raises InputError
        for an unknown account."""
        with self._session() as session:
            _account(session, name).daily = daily
            note(session, "admin", "limit account", name, "" if daily is None else f"{daily} a day")

    def sign_in(self, name: str, person: Identified | None = None) -> str:
        """The word by which a browser is known for `SIGNED_IN`; person: the identity that it came by. Raises
        InputError for an unknown account."""
        word = secrets.token_urlsafe(32)
        issuer, subject = person or (None, None)
        with self._session() as session:
            session.execute(delete(Login).where(Login.expires < now()))
            account = _account(session, name)
            session.add(
                Login(
                    word_hash=hashed(word),
                    account_id=account.id,
                    expires=now() + SIGNED_IN,
                    issuer=issuer,
                    subject=subject,
                )
            )
        return word

    def signed_in(self, word: str) -> str | None:
        """The account of a browser's word; None for an unknown or old one, or a disabled account."""
        query = (
            select(Account.name)
            .join(Login, Login.account_id == Account.id)
            .where(Login.word_hash == hashed(word), Login.expires > now(), Account.disabled.is_(False))
        )
        with self._reading() as session:
            return session.scalar(query)

    def person(self, word: str) -> Identified | None:
        """The identity by which a browser was signed in; None for a token."""
        with self._reading() as session:
            found = session.get(Login, hashed(word))
            return (found.issuer, found.subject) if found and found.issuer and found.subject else None

    def enabled(self, name: str) -> bool:
        """Whether an account may sign in."""
        with self._reading() as session:
            return not _account(session, name).disabled

    def sign_out(self, word: str) -> None:
        """Know a browser no longer."""
        with self._session() as session:
            session.execute(delete(Login).where(Login.word_hash == hashed(word)))

    def disable_account(self, name: str) -> None:
        """Take no token of an account any more. Raises InputError for an unknown account."""
        with self._session() as session:
            _account(session, name).disabled = True
            note(session, "admin", "disable account", name)

    def enable_account(self, name: str) -> None:
        """Take the token of an account again. Raises InputError for an unknown account."""
        with self._session() as session:
            _account(session, name).disabled = False
            note(session, "admin", "enable account", name)

    def account_of(self, token: str) -> str | None:
        """The name of the account that a token belongs to; None for an unknown token or a disabled
        account."""
        with self._reading() as session:
            return session.scalar(
                select(Account.name).where(Account.token_hash == hashed(token), Account.disabled.is_(False))
            )

    def accounts(self) -> list[dict[str, Any]]:
        """All accounts, with the number of their submissions."""
        with self._reading() as session:
            counted = select(Submission.account_id, func.count()).group_by(Submission.account_id)
            sent = dict(session.execute(counted).tuples().all())
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
