"""What the leaderboard's tests share: databases, a board in a folder of its own with accounts and a
client."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from bench import suite as suites
from bench.models.baseline import Baseline
from bench.run import run
from leaderboard.board import config as boards
from leaderboard.intake import archive, submission
from leaderboard.scoring import scorer
from leaderboard.store import Store
from leaderboard.store.database import connect
from leaderboard.store.results import Scored
from leaderboard.store.standings import Filter
from leaderboard.store.tables import RUNNING
from leaderboard.web.app import build_app
from leaderboard.web.pages import Pages

CARD = {
    "name": "guess",
    "organisation": "a lab",
    "licence": "mit",
    "contamination": "none known",
    "data": ["nothing"],
    "parameters": 2.5e6,
}
PLACES = [
    Path(p)
    for p in (*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), "/usr/local/bin", "/usr/bin")
]


def as_postgres():
    """Arguments that run a command as another user than root, which PostgreSQL refuses."""
    if os.getuid():
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid}


class Postgres:
    """A PostgreSQL of its own, in a folder that goes with it. url: of its database. Raises LookupError where
    none is installed or none can be started."""

    def __init__(self):
        self.place = next((p for p in PLACES if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)
        if self.place is None:
            raise LookupError("PostgreSQL is not installed")
        # Sockets want short paths, and another user must reach it.
        self.folder, user = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp")), as_postgres()
        if user:
            os.chown(self.folder, user["user"], user["group"])
        self.quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": self.folder, **user}
        self.data, self.url = self.folder / "data", f"postgresql+psycopg://board@/postgres?host={self.folder}"
        options = ["-D", self.data, "-U", "board", "-A", "trust", "-E", "UTF8", "--no-sync"]
        made = subprocess.run([self.place / "initdb", *options], **self.quiet)
        if made.returncode:
            raise LookupError(f"PostgreSQL cannot be started here: {made.stderr.decode()[-200:]}")

    def control(self, *words: str, check: bool = True) -> None:
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        call = [
            self.place / "pg_ctl",
            "-D",
            self.data,
            "-o",
            options,
            "-w",
            "-l",
            self.folder / "log",
            *words,
        ]
        subprocess.run(call, check=check, **self.quiet)

    def fresh(self) -> str:
        """Its address, after all tables were removed."""
        engine = connect(self.url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()
        return self.url

    def __enter__(self) -> "Postgres":
        self.control("start")
        return self

    def __exit__(self, *_) -> None:
        self.control("-m", "immediate", "stop", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL started for the tests."""
    try:
        found = Postgres()
    except LookupError as error:
        pytest.skip(str(error))
    with found:
        yield found


# Of long tests in which the database matters little.
ON_SQLITE_FIRST = pytest.mark.parametrize(
    "database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """Address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/board.sqlite"
    return request.getfixturevalue("postgres").fresh()


@pytest.fixture
def store(database):
    engine = connect(database)
    found = Store(engine)
    found.migrate()
    yield found
    engine.dispose()


def rows_of(store: Store, suite: str = "scenes", split: str = "public") -> list[dict]:
    """Every row of all versions of a table, replaced ones too, with all its metrics."""
    found = []
    for version in store.versions(suite, split):
        metrics = store.metrics(suite, split, version["hash"])
        standings = store.standings(suite, split, version["hash"], "mcq.accuracy", Filter(older=True))
        found += store.rows(standings.results.tolist(), metrics).values()
    return found


@pytest.fixture(scope="session")
def baseline_runs(scenes, tmp_path_factory):
    """A folder with finished runs of baselines and the suite's configuration."""
    return baselines(scenes, tmp_path_factory.mktemp("runs"))


def baselines(scenes: Path, folder: Path) -> Path:
    """`baseline_runs` in `folder`."""
    (folder / "suite.yaml").write_text(
        json.dumps(
            {"name": "scenes", "data": str(scenes), "tasks": ["mcq", "judgement", "spatial"], "resamples": 50}
        )
    )
    plan = suites.read(str(folder / "suite.yaml"))
    for which in ("random", "prior", "oracle"):
        run(Baseline(which), f"baseline:{which}", plan, folder / which)
    return folder


def check_here(sent, unpacked, known, _):
    """Check a submission as its child does, in this process, which costs a second less."""
    archive.unpack(sent, unpacked)
    return submission.verify(unpacked, known)


class Place:
    """A board in a folder of its own, with a client and two accounts."""

    def __init__(self, folder, runs, database=None, limited=False, **settings):
        self.folder, self.runs, self.config = folder, runs, folder / "board.yaml"
        scenes = {"config": str(runs / "suite.yaml")}
        plan = {
            "folder": str(folder / "board"),
            "suites": {"scenes": scenes},
            "daily": 5,
            "open_accounts": 3,
            "database": database,
        }
        self.config.write_text(json.dumps(plan | settings))
        (folder / "board").mkdir(exist_ok=True)
        self.board = boards.read(str(self.config))
        self.store = Store(connect(self.board.url))
        self.store.migrate()
        self.pages = Pages(self.board, self.store, self.board.open())
        self.version = self.pages.versions["scenes", "public"]
        self.token, self.other = self.store.create_account("lab", 5), self.store.create_account("other", 5)
        self.client = TestClient(build_app(self.board, self.store, self.pages), raise_server_exceptions=False)
        if not limited:
            self.client.app.state.site.uploads.check = check_here

    def packed(self, which="random", runs: dict | None = None, **card) -> bytes:
        (self.folder / "card.yaml").write_text(json.dumps(CARD | card))
        submission.pack(
            runs or {"scenes": self.runs / which}, self.folder / "card.yaml", self.folder / "s.zip"
        )
        return (self.folder / "s.zip").read_bytes()

    def bearer(self, token: str | None = None) -> dict[str, str]:
        return {"Authorization": f"Bearer {token or self.token}"}

    def send(self, data: bytes, token: str | None = None):
        return self.client.post("/api/submissions", content=data, headers=self.bearer(token))

    def scored(self, which="random", **card) -> str:
        """Hash of a submission that has been sent and scored; the own scorer of a board that is served may
        have taken it."""
        name = self.send(self.packed(which, **card)).json()["hash"]
        self.score()
        for _ in range(480):
            if self.state(name) != RUNNING:
                return name
            time.sleep(0.25)
        raise AssertionError(f"{name} is still being scored")

    def state(self, name: str) -> str:
        with self.store.engine.connect() as connection:
            asked = text("SELECT state FROM submissions WHERE hash = :name")
            return connection.execute(asked, {"name": name}).scalar_one()

    def finish(self, value: float = 0.5) -> None:
        """End what is queued with made-up metrics."""
        metric = {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 3}
        while (job := self.store.claim(60)) is not None:
            self.store.finish(
                job,
                [
                    Scored(
                        "scenes",
                        "public",
                        self.version,
                        {"mcq.accuracy": metric, "judgement.accuracy": metric},
                        {},
                    )
                ],
            )

    def score(self) -> None:
        """Score what is queued, as the scorer's child does; that it has a process of its own is tested where
        it matters."""
        while (job := self.store.claim(60)) is not None:
            with tempfile.TemporaryDirectory(dir=self.board.folder) as work:
                phases = scorer.phases_of(self.board, job)
                scorer.child(self.board, self.board.submission(job.hash), Path(work), phases)
                self.store.finish(job, scorer.collected(self.board, Path(work)))


@pytest.fixture
def place(tmp_path, baseline_runs, database):
    found = Place(tmp_path, baseline_runs, database)
    yield found
    found.store.engine.dispose()
