"""A leaderboard's configuration: where it keeps things, which suites it scores."""

import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from bench import leaks
from bench import suite as suites
from bench.suite import Item, Suite
from leaderboard.board import effect, private
from leaderboard.board.phases import Book, Phase, Phases, now
from tvad.common import config
from tvad.common.errors import InputError
from tvad.common.files import is_hash, made
from tvad.data.sample import Sample

SPLITS = ("public", "private")
DATABASE = "leaderboard.sqlite"  # in the folder, where no other is named
ADDRESS = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")
HUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass
class BoardSuite:
    """A benchmark suite, as a board serves it."""

    config: str
    """The suite's YAML file."""
    split: str = "public"
    """public, or private: its labels are known to the server only."""
    table: str | None = None
    """The table that it belongs to, where not its own: the private half of a public suite names that suite,
    or both name one."""
    render: private.Render | None = None
    """Scenes that are rendered here from a secret seed and stand in place of the configuration's clips."""
    phases: Phases = field(default_factory=Phases)
    """Of a private split only: how long its clips are asked before its scores are shown."""
    note: str = ""
    """What is new in this version, for the changelog."""
    retired: str = ""
    """The day ("2026-05-31") from whose end on nothing is taken for it any more; its table stays."""
    hub: str = ""
    """The data set at the Hugging Face Hub (OWNER/NAME) that it is published as: the static export then holds
    eval.yaml for it and results for its models' repositories."""
    published: list[str] = field(default_factory=list)
    """Parts of the published figures to show below the table, by their titles."""


@dataclass
class Scoring:
    """Limits of one submission's scoring."""

    seconds: float = 900.0
    """Wall time."""
    gigabytes: float = 8.0
    """Memory, in GiB of address space."""
    pictures: int = 200
    """Answers to a public suite of which a picture is kept, those with the lowest scores; 0: none."""
    blur_outlined: bool = False
    """Whether in those pictures everything is blurred that the data's tracks and masks outline, faces with
    it; a clip that has neither gets no picture. Who is outlined by nothing stays as filmed."""


@dataclass
class Checking:
    """Limits of unpacking and checking one submission, when it arrives."""

    seconds: float = 120.0
    """Wall time, and time of a core."""
    gigabytes: float = 2.0
    """Memory, in GiB of address space."""


@dataclass
class Rerun:
    """Limits of running a submission's model again, for each suite (`leaderboard admin rerun`)."""

    seconds: float = 86400.0
    """Wall time."""
    gigabytes: float = 256.0
    """Memory, in GiB of address space, of which GPUs take much."""


@dataclass
class Webhook:
    """An address that is told of every change of a submission's state, by a POST that is signed (HMAC-SHA256)
    with LEADERBOARD_WEBHOOK_SECRET."""

    url: str = ""
    """http(s); empty: none."""
    secret_file: str | None = None
    """A file that holds the secret, in place of the environment."""
    inside: bool = False
    """Whether it may be an address inside: loopback, a private network."""


@dataclass
class Mail:
    """Mail of the same changes; the password, where one is needed, is in LEADERBOARD_MAIL_PASSWORD."""

    to: list[str] = field(default_factory=list)
    """Who gets it; empty: nobody."""
    sender: str = ""
    """Whom it is from."""
    host: str = "localhost"
    """The server that takes it."""
    port: int = 25
    """Its port."""
    tls: bool = False
    """Whether STARTTLS is used."""
    user: str = ""
    """To sign in there; empty: without."""
    secret_file: str | None = None
    """A file that holds the password, in place of the environment."""


@dataclass
class OpenID:
    """A provider of identities (OpenID Connect) by which accounts may sign in. The client's secret is in
    LEADERBOARD_OIDC_SECRET or in a file (`leaderboard.board.credentials`), never here."""

    issuer: str = ""
    """Its address, exactly as it calls itself; empty: none."""
    client: str = ""
    """What the board is called there; its redirect address is ADDRESS/account/callback."""
    secret_file: str | None = None
    """A file that holds the client's secret."""
    title: str = "Sign in with your organisation"
    """What the link says."""
    accounts: bool = False
    """Whether who signs in for the first time gets an account; otherwise an account is tied to an identity by
    who is signed in with its token."""


class Opened(dict[str, tuple[Suite, list[Sample], list[Item]]]):
    """Opened suites, by name. phases: {private split: number of the phase that was opened; None of a retired
    one}: while they are read another process may begin the next."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: dict[str, int | None] = {}


@dataclass
class Board:
    """A leaderboard: its suites, and what its visitors may do."""

    FOLDER: ClassVar[str] = "leaderboard"

    folder: str
    """Where submissions, scored runs, private clips and the board's secret lie."""
    suites: dict[str, BoardSuite]
    """The suites that are scored, by the names that submissions give them."""
    database: str | None = None
    """SQLAlchemy's address of a database (default: SQLite in `folder`)."""
    storage: str | None = None
    """Address of an object store (s3://bucket/board, or any that fsspec opens) that keeps submissions and
    scored runs; `folder` then holds what of them was asked for lately, and all else, on a disk that servers
    and scorers share."""
    storage_here: float = 0.0
    """GiB of submissions and scored runs that stay in `folder` beside a store, those asked for last; 0:
    all."""
    title: str = "Video anomaly leaderboard"
    """Stands above every page."""
    address: str = ""
    """Where the site is (https://board.example.org): for links that are followed from elsewhere."""
    daily: int = 20
    """Submissions that an account may send a day, where not set otherwise for it (`leaderboard account NAME
    --daily`)."""
    per_minute: int = 240
    """Requests of an account, or wrong tokens from an address, that are answered within a minute."""
    connections: int = 100
    """Connections that an address may have at a time; those of `proxies` are not counted."""
    at_once: int = 16
    """Requests without a token that an address may have under way at a time: 40 are answered at a time."""
    open_accounts: int = 0
    """Accounts that anyone may make on the submit page, a day and address; 0: only the administrator."""
    scoring: Scoring = field(default_factory=Scoring)
    """Limits of one submission's scoring."""
    checking: Checking = field(default_factory=Checking)
    """Limits of checking one submission when it arrives."""
    rerun: Rerun = field(default_factory=Rerun)
    """Limits of running a submission's model again."""
    proxies: list[str] = field(default_factory=list)
    """Addresses or networks (10.0.0.0/8) of proxies before this server: what they say of a client's address
    (X-Forwarded-For) counts, nobody else's word does."""
    moderated: bool = False
    """Whether submissions wait for an administrator (`leaderboard admin approve`) before anything of them is
    shown."""
    webhook: Webhook = field(default_factory=Webhook)
    """An address that is told of changes."""
    mail: Mail = field(default_factory=Mail)
    """Mail of changes."""
    openid: OpenID = field(default_factory=OpenID)
    """Signing in beside tokens."""

    @property
    def url(self) -> str:
        """The database's address."""
        return self.database or f"sqlite:///{Path(self.folder).resolve() / DATABASE}"

    @property
    def tables(self) -> list[str]:
        """Names of the tables; the public and the private half of a suite stand in one."""
        return list(dict.fromkeys(self.table_of(name) for name in self.suites))

    def table_of(self, name: str) -> str:
        """The table of a suite."""
        return self.suites[name].table or name

    def suite_in(self, table: str, split: str) -> str | None:
        """The suite whose results stand in a table's split."""
        return next(
            (
                name
                for name, suite in self.suites.items()
                if self.table_of(name) == table and suite.split == split
            ),
            None,
        )

    def secret(self, purpose: str) -> bytes:
        """32 bytes that only this board knows, others for every purpose."""
        file = Path(self.folder) / "secret"
        if not file.exists():
            temporary = made(file.parent) / f".secret.{secrets.token_hex(8)}"
            # Readable by its owner only from its first byte on, and whole when it gets its name.
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_hex(32))
            try:
                os.link(temporary, file)  # the first of several processes wins
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
        return hmac.digest(bytes.fromhex(file.read_text()), purpose.encode(), "sha256")

    def suite(self, name: str, number: int = 1) -> Suite:
        """A suite with its references; number: of a private split's phase. Raises InputError."""
        entry = self.suites[name]
        if entry.render is None:
            files = [entry.config, *entry.phases.following]
            if number > len(files):
                raise InputError(
                    f"suites: {name}: phase {number} is asked, but {len(files)} suites are named"
                )
            return suites.read(files[number - 1])
        return private.labelled(suites.read(entry.config), self.private(name, number))

    def _number(self, name: str) -> int:
        """The number of a private split's last phase; 1 before the first, and of a public one."""
        return max(1, len(self.book(name).phases())) if self.suites[name].split == "private" else 1

    def book(self, name: str) -> Book:
        """The phases of a private split."""
        return Book(Path(self.folder) / "private" / name, self.suites[name].phases.days)

    def phase(self, name: str) -> Phase | None:
        """The phase of a private split that is asked now; None for a public one, before the first phase and
        after the last."""
        return self.book(name).current if self.suites[name].split == "private" else None

    def answered(self, name: str, sent: datetime) -> int:
        """The number of the phase that a submission of that moment answers; 1 of a public suite. Raises
        InputError where it has ended since, or the suite is gone."""
        if name not in self.suites:
            raise InputError(f"{name} is not asked any more")
        number = self.book(name).asked_at(sent) if self.suites[name].split == "private" else 1
        if number is None:
            raise InputError(f"{name}: the phase that this answers has ended")
        return number

    def version(self, name: str, suite: Suite, samples: list[Sample], number: int = 1) -> str:
        """What the version of an opened suite is called on this board; number: of a private split's phase."""
        digest = suite.digest(samples)
        if self.suites[name].split == "public":
            return digest
        return self.book(name).called(number, digest, private.asked(suite, samples))

    def spent(self, name: str) -> list[str]:
        """Versions of a private split whose phases have ended."""
        return [v for phase in self.book(name).phases() if phase.ended for v in phase.versions.values()]

    @property
    def taken(self) -> list[str]:
        """The suites that submissions may answer now: none whose phase is over."""
        return [
            name
            for name, suite in self.suites.items()
            if self.retired(name) is None
            and (suite.split == "public" or ((phase := self.phase(name)) is not None and not phase.over))
        ]

    def retired(self, name: str) -> str | None:
        """Since when nothing is taken for a suite, by its configuration or since the last phase of a private
        split has ended (YYYY-MM-DD); None while something is."""
        day, over = self.suites[name].retired, self.book(name).over_since
        days = [day] if day and date.fromisoformat(day) < now().date() else []
        return min(days + ([str(over.date())] if over else []), default=None)

    def taken_until(self, name: str) -> datetime | None:
        """The moment (UTC, without a zone, as rows have it) from which on nothing is taken for a retired
        suite; None while something is."""
        day, over = self.retired(name), self.book(name).over_since
        ends = [datetime.fromisoformat(day) + timedelta(days=1)] if day else []
        return min(ends + ([over] if over else []), default=None)

    @property
    def limits(self) -> dict[str, Phases]:
        """How often the private splits may be answered."""
        return {name: suite.phases for name, suite in self.suites.items() if suite.split == "private"}

    def private(self, name: str, number: int | None = None) -> Path:
        """Where the clips of a rendered suite lie, of a phase; of the one that is asked now by default."""
        return self.book(name).folder / f"phase-{number or self._number(name)}"

    def inputs(self, name: str) -> Path | None:
        """What is given out of a rendered suite, a .zip; None for a suite that is not rendered here."""
        entry = self.suites.get(name)
        return self.private(name) / private.INPUTS if entry and entry.render else None

    def open(self) -> Opened:
        """Render what is missing and open every suite: bad labels are found before a submission comes. The
        first phases begin; a private split that can be answered blindly is refused, a retired one left out.
        Raises InputError."""
        found = Opened()
        for name, entry in self.suites.items():
            if entry.split == "public":
                found[name] = self._opened(name, 1)
                continue
            found.phases[name] = number = None if self.book(name).over_since else self._number(name)
            if number is None:
                continue
            found[name] = self._opened(name, number)
            self.book(name).begin(number)
        return found

    def turn(self, waits: Callable[[str], bool]) -> list[str]:
        """End the phases whose time has come, where nothing that answers them `waits` to be scored, and begin
        the next ones, of a retired split none; returns the suites of which this process has. A split whose
        next phase cannot be opened stays as it is, closed, and holds up no other. Raises InputError at the
        end, for all of those."""
        turned, errors = [], {}
        for name in self.limits:
            try:
                turned += [name] * self._turned(name, waits)
            except Exception as error:  # a full disk, bad labels: told below
                errors[name] = error
        if errors:
            said = "; ".join(f"{name}: {error}" for name, error in errors.items())
            raise InputError(said) from next(iter(errors.values()))
        return turned

    def _turned(self, name: str, waits: Callable[[str], bool]) -> bool:
        """`turn` of one split."""
        entry, phase = self.suites[name], self.phase(name)
        if phase is None or not phase.over or waits(name):
            return False
        follows = entry.render is not None or phase.number <= len(entry.phases.following)
        if not follows or self.retired(name) is not None:
            return self.book(name).end(phase.number)
        self._opened(name, phase.number + 1)  # before the other ends
        return self.book(name).begin(phase.number + 1)

    def _opened(self, name: str, number: int) -> tuple[Suite, list[Sample], list[Item]]:
        entry = self.suites[name]
        if entry.render is not None:
            private.prepare(
                entry.render,
                suites.read(entry.config),
                name,
                self.private(name, number),
                self.secret(f"scenes {name} {number}"),
                number,
            )
        suite = self.suite(name, number)
        samples, items = suites.load(suite)
        known = entry.split == "public" or self.book(name).knows(number, suite.digest(samples))
        if not known and (told := leaks.told(items, suite.seed)):
            raise InputError(f"suites: {name}: a private split is not opened: {told}")
        return suite, samples, items

    def submission(self, name_hash: str) -> Path:
        """Where a submission's files lie. Raises InputError for what is no hash."""
        return self._named("submissions", name_hash)

    def scored(self, folder: str) -> Path:
        """Where a scored run lies, named by its content. Raises InputError for what is no hash."""
        return self._named("scored", folder)

    def _named(self, kind: str, name_hash: str) -> Path:
        if not is_hash(name_hash):
            raise InputError("expected a hash, 64 hexadecimal digits")
        return Path(self.folder) / kind / name_hash


def read(path: str, overrides: list[str] | None = None) -> Board:
    """A board from YAML. Raises InputError."""
    board = config.read(Board, path, overrides or [])
    if not board.suites:
        raise InputError(f"{path}: suites is empty")
    if board.storage_here < 0 or (board.storage_here and not board.storage):
        raise InputError(f"{path}: storage_here is {board.storage_here:g}, and means nothing without storage")
    for proxy in board.proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise InputError(f"{path}: proxies: {proxy!r} is no address or network") from error
    if board.address and not ADDRESS.fullmatch(board.address):
        raise InputError(f"{path}: address is {board.address!r}, expected http(s)://HOST without a path")
    if board.openid.issuer and not (board.address and board.openid.client):
        raise InputError(f"{path}: openid: issuer needs client, and the board's address")
    if board.openid != OpenID() and not board.openid.issuer:
        raise InputError(f"{path}: openid: issuer is missing")
    if board.webhook.url and not board.webhook.url.startswith(("https://", "http://")):
        raise InputError(f"{path}: webhook: url is {board.webhook.url!r}, expected http(s)://…")
    if (board.mail.to or board.mail != Mail()) and not (board.mail.to and board.mail.sender):
        raise InputError(f"{path}: mail: to and sender are needed")
    taken: dict[tuple[str, str], str] = {}
    for name, suite in board.suites.items():
        if suite.split not in SPLITS:
            raise InputError(
                f"{path}: suites: {name}: split is {suite.split!r}, expected one of {', '.join(SPLITS)}"
            )
        if suite.render is not None and suite.split != "private":
            raise InputError(
                f"{path}: suites: {name}: render makes a private split, but split is {suite.split!r}"
            )
        try:
            date.fromisoformat(suite.retired or "2026-01-01")
        except ValueError as error:
            raise InputError(
                f"{path}: suites: {name}: retired is {suite.retired!r}, expected a day"
            ) from error
        if suite.hub and not HUB.fullmatch(suite.hub):
            raise InputError(f"{path}: suites: {name}: hub is {suite.hub!r}, expected OWNER/NAME")
        place = (board.table_of(name), suite.split)
        if (other := taken.setdefault(place, name)) != name:
            raise InputError(
                f"{path}: suites: {other} and {name} are both the {suite.split} split of table {place[0]}"
            )
    effect.check(board, path)
    return board
