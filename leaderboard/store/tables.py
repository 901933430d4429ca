"""The tables of a leaderboard's database. A change here goes with a new file in `migrations/versions/`; a
test fails where the two differ."""

from datetime import datetime

from sqlalchemy import (
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from leaderboard.board.phases import now as now  # the one clock

QUEUED, RUNNING, DONE, FAILED, WITHDRAWN = "queued", "running", "done", "failed", "withdrawn"
REVIEW = "review"  # scored, and waits for the administrator to be shown
REJECTED = "rejected by the administrator"  # how the error of one begins that failed by that


class Base(DeclarativeBase):
    """What all tables derive from."""


class Account(Base):
    """Who may submit. The token itself is never kept."""

    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    daily: Mapped[int | None]  # submissions a day, where not the board's number
    organisation: Mapped[str] = mapped_column(String(100), server_default="")  # that is verified
    disabled: Mapped[bool] = mapped_column(default=False)
    created: Mapped[datetime] = mapped_column(DateTime)


class Login(Base):
    """A browser that is signed in, by the SHA-256 of the word in its cookie."""

    __tablename__ = "logins"
    word_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    expires: Mapped[datetime] = mapped_column(DateTime)
    issuer: Mapped[str | None] = mapped_column(String(255))  # of the identity that signed in
    subject: Mapped[str | None] = mapped_column(String(255))
    __table_args__ = (Index("ix_logins_account", "account_id"),)


class Identity(Base):
    """Whom a provider of identities calls `subject`, and the account that they sign in as."""

    __tablename__ = "identities"
    issuer: Mapped[str] = mapped_column(String(255), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    created: Mapped[datetime] = mapped_column(DateTime)


class Attempt(Base):
    """An attempt to sign in by a provider, between its beginning and its end."""

    __tablename__ = "attempts"
    state_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    browser_hash: Mapped[str] = mapped_column(String(64))
    nonce: Mapped[str] = mapped_column(String(100))
    verifier: Mapped[str] = mapped_column(String(100))
    account: Mapped[str | None] = mapped_column(String(100))  # signed in as when it began
    expires: Mapped[datetime] = mapped_column(DateTime)


class Submission(Base):
    """A submission and how far it is. A running one is held by the scorer that knows `claim`, until `lease`;
    past that another may take it."""

    __tablename__ = "submissions"
    hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(100))
    card: Mapped[str] = mapped_column(Text)  # JSON of `Card`; what the table filters by also as columns
    organisation: Mapped[str] = mapped_column(String(100), server_default="")
    parameters: Mapped[float | None]
    open_weights: Mapped[bool] = mapped_column(server_default=false())
    uses_video: Mapped[bool] = mapped_column(server_default=true())
    baseline: Mapped[bool] = mapped_column(server_default=false())
    suites: Mapped[str] = mapped_column(Text)  # JSON list
    state: Mapped[str] = mapped_column(String(10))  # one of the six above
    approved: Mapped[bool] = mapped_column(server_default=true())  # else nothing of it is shown
    attempts: Mapped[int] = mapped_column(default=0)  # claims until now
    claim: Mapped[str | None] = mapped_column(String(32))
    lease: Mapped[datetime | None] = mapped_column(DateTime)
    next_try: Mapped[datetime | None] = mapped_column(DateTime)  # a queued one is not claimed before
    # why scoring failed, for its submitter; of a queued one, why it is tried again
    error: Mapped[str | None] = mapped_column(Text)
    seconds: Mapped[int | None]  # that scoring took, in whole steps of `queue.STEP`
    created: Mapped[datetime] = mapped_column(DateTime)
    finished: Mapped[datetime | None] = mapped_column(DateTime)
    __table_args__ = (
        Index("ix_submissions_state", "state", "created"),
        Index("ix_submissions_account", "account_id", "created"),
    )


class Result(Base):
    """Metrics of a submission on a suite's split, as scored; suite_hash says on which version, folder names
    the scored run by its content."""

    __tablename__ = "results"
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.hash"))
    suite: Mapped[str] = mapped_column(String(100))
    split: Mapped[str] = mapped_column(String(10))
    suite_hash: Mapped[str] = mapped_column(String(16))
    metrics: Mapped[str] = mapped_column(Text)  # JSON {metric: {value, low, high, n}}
    blind: Mapped[str] = mapped_column(Text)  # JSON of `bench.blind.record`
    folder: Mapped[str | None] = mapped_column(String(64))
    summary: Mapped[str] = mapped_column(Text, server_default="{}")  # JSON of `evidence.summary`
    signature: Mapped[bytes | None] = mapped_column(LargeBinary)  # `integrity.signature`
    __table_args__ = (
        UniqueConstraint("submission", "suite", "split"),
        Index("ix_results_suite", "suite", "split", "suite_hash"),
    )


class Score(Base):
    """A defined metric of a result, for sorting; low and high are missing where it has no interval."""

    __tablename__ = "scores"
    result_id: Mapped[int] = mapped_column(ForeignKey("results.id"), primary_key=True)
    metric: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[float]
    low: Mapped[float | None]
    high: Mapped[float | None]
    n: Mapped[int]
    # A column of a table is read from the index alone.
    __table_args__ = (Index("ix_scores_metric", "metric", "result_id", "value", "low", "high"),)


class Flag(Base):
    """What makes a submission look doubtful (`leaderboard.store.integrity`); other: the submission that it
    resembles."""

    __tablename__ = "flags"
    id: Mapped[int] = mapped_column(primary_key=True)
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.hash"))
    kind: Mapped[str] = mapped_column(String(20))
    suite: Mapped[str] = mapped_column(String(100))
    other: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str] = mapped_column(Text)
    split: Mapped[str] = mapped_column(String(10), server_default="private")  # labels that it rests on
    version: Mapped[str] = mapped_column(String(16), server_default="")
    __table_args__ = (Index("ix_flags_submission", "submission"), Index("ix_flags_other", "other"))


class Rerun(Base):
    """What came of running a submission's model again on a table's public labels, and of which version."""

    __tablename__ = "reruns"
    submission: Mapped[str] = mapped_column(ForeignKey("submissions.hash"), primary_key=True)
    suite: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(300))  # as the card named it
    verified: Mapped[bool]
    detail: Mapped[str] = mapped_column(Text)  # JSON of `rerunning.compared`
    created: Mapped[datetime] = mapped_column(DateTime)


class SuiteVersion(Base):
    """A version of a suite's split, from when it was first served. Rows of different versions are never
    compared."""

    __tablename__ = "suite_versions"
    id: Mapped[int] = mapped_column(primary_key=True)
    suite: Mapped[str] = mapped_column(String(100))
    split: Mapped[str] = mapped_column(String(10))
    hash: Mapped[str] = mapped_column(String(16))
    since: Mapped[datetime] = mapped_column(DateTime)
    questions: Mapped[int]
    videos: Mapped[int]
    note: Mapped[str] = mapped_column(Text)
    ends: Mapped[datetime | None] = mapped_column(DateTime)  # of a private one: when its phase is to end
    ended: Mapped[datetime | None] = mapped_column(DateTime)  # … has ended: what stands is shown
    __table_args__ = (UniqueConstraint("suite", "split", "hash"),)


class Scorer(Base):
    """A scorer that is at work, and when it was last heard of."""

    __tablename__ = "scorers"
    name: Mapped[str] = mapped_column(String(100), primary_key=True)  # machine, process, a random word
    began: Mapped[datetime] = mapped_column(DateTime)
    seen: Mapped[datetime] = mapped_column(DateTime)


class Notice(Base):
    """A change of state that is to be told (`leaderboard.store.outbox`)."""

    __tablename__ = "notices"
    id: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(Text)  # JSON
    due: Mapped[datetime] = mapped_column(DateTime)
    attempts: Mapped[int]  # until now
    told: Mapped[str] = mapped_column(String(40))  # by which ways already
    __table_args__ = (Index("ix_notices_due", "due"),)


class Quota(Base):
    """How often somebody has done something lately (`leaderboard.store.quotas`)."""

    __tablename__ = "quotas"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of what and who
    until: Mapped[float]  # when none of it counts any more, seconds of the epoch
    steps: Mapped[str] = mapped_column(Text, server_default="[]")  # JSON [[step, events], …]


class Audit(Base):
    """Who changed what, when. Rows are only added."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True)
    time: Mapped[datetime] = mapped_column(DateTime)
    who: Mapped[str] = mapped_column(String(100))
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(100))
    detail: Mapped[str] = mapped_column(Text, default="")
    __table_args__ = (Index("ix_audit_action", "action"),)
