"""Fifty clients of a leaderboard while everything dies: servers and scorers kill themselves at random points
of every change of state (`tests/mortal.py`), scoring processes are killed, the disk is full, the database is
locked and, where it is a server, restarted. Afterwards every submission that was acknowledged has been scored
exactly once.

python tests/killing.py --kills 220
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from board_fixtures import CARD, Place, Postgres, baselines
from ports import free_port
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from leaderboard.client import Client
from leaderboard.intake import submission
from leaderboard.store.tables import Audit, Result, Submission
from tvad.common.errors import InputError
from tvad.data.scenes.dataset import ScenesConfig, generate

CLIENTS, SERVERS, SCORERS = 50, 2, 2
LOCK = 2  # seconds that a process waits for a lock, here
DISK = "192m"
ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A file system of its own at `folder`, where this user may mount one; whether it is there."""
    folder.mkdir(exist_ok=True)
    call = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    mounted = subprocess.run(call, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def _signal(number: int, which: signal.Signals) -> bool:
    try:
        os.kill(number, which)
    except ProcessLookupError:
        return False
    return True


class Crowd:
    """place: `board_fixtures.Place` over `database`. most: deaths of servers and scorers, after which no more
    die. restart: of the database's server."""

    def __init__(
        self, place, database: str, most: int, seed: int, disk: bool, restart: Callable[[], None] | None
    ):
        self.place, self.database, self.most, self.disk, self.restart = place, database, most, disk, restart
        self.log = place.folder / "deaths.txt"
        self.random, self.seed = random.Random(seed), seed
        self.outside: Counter[str] = Counter()
        self.ending, self.calm = threading.Event(), threading.Event()
        self.acknowledged: Counter[str] = Counter()
        self.sent: dict[str, Path] = {}
        self.broken: set[str] = set()
        self.withdrawn: set[str] = set()
        self.failures: list[BaseException] = []
        self.processes: dict[str, subprocess.Popen] = {}
        self.text = ""
        self.ports = [free_port() for _ in range(SERVERS)]
        place.store.create_account("crowd", 10**6)
        self.token = place.store.renew_token("crowd")

    def deaths(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def mortal(self, module: str, *arguments: str) -> subprocess.Popen:
        call = [sys.executable, str(ROOT / "tests" / "mortal.py"), str(self.log), str(self.seed)]
        with (self.place.folder / f"{module}.txt").open("a") as out:
            return subprocess.Popen(
                [*call, str(self.most), module, *arguments, "--config", str(self.place.config)],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def keep(self, name: str, module: str, *arguments: str) -> None:
        """Start a process again whenever it has ended."""
        while not self.ending.is_set():
            self.processes[name] = self.mortal(module, *arguments)
            self.processes[name].wait()

    def clients(self) -> list[Client]:
        """Of one sender, one a server."""
        return [Client(f"http://127.0.0.1:{port}", self.token, tries=2, first=2) for port in self.ports]

    def insist(self, clients: list[Client], call: Callable[[Client], object]):
        """What a patient client does: again, at any server, until one answers."""
        while True:
            try:
                return call(self.random.choice(clients))
            except InputError as error:
                if "cannot be reached" not in str(error):
                    raise
            time.sleep(0.2)

    def send(self, n: int, name_hash: str) -> None:
        """One client's part: it sends its submission twice; some take it back."""
        clients = self.clients()
        try:
            for _ in range(2):
                found = self.insist(clients, lambda client: client.send(self.sent[name_hash])["hash"])
                assert found == name_hash
                self.acknowledged[found] += 1
            if n % 10 == 1:
                self.insist(clients, lambda client: client.data("DELETE", f"/api/submissions/{name_hash}"))
                self.withdrawn.add(name_hash)
        except BaseException as error:
            self.failures.append(error)

    def pack(self, count: int) -> list[str]:
        """Hashes of `count` new submissions."""
        names = []
        for _ in range(count):
            card, path = (self.place.folder / name for name in ("card.yaml", f"{len(self.sent)}.zip"))
            card.write_text(json.dumps(CARD | {"name": f"model {len(self.sent)}"}))
            names.append(submission.pack({"scenes": self.place.runs / "random"}, card, path).hash)
            self.sent[names[-1]] = path
            if len(self.sent) % 10 == 5:
                self.broken.add(names[-1])
        return names

    def children(self) -> Iterator[tuple[int, list[str]]]:
        """Numbers and words of the processes that servers and scorers have started."""
        for process in list(self.processes.values()):
            try:
                for file in Path(f"/proc/{process.pid}/task").glob("*/children"):
                    for number in file.read_text().split():
                        yield int(number), Path(f"/proc/{number}/cmdline").read_text().split("\0")
            except OSError:  # ended meanwhile
                continue

    def breaking(self) -> None:
        """The scoring of some submissions ends by a fault of its own: an abort."""
        while not self.ending.is_set():
            for number, words in self.children():
                if any(Path(word).name in self.broken for word in words):
                    _signal(number, signal.SIGABRT)
            time.sleep(0.05)

    def requeueing(self) -> None:
        """An administrator puts what has failed back into the queue, again and again."""
        while not self.calm.is_set():
            for name in sorted(self.broken & set(self.acknowledged)):
                if self.state(name) == "failed" and not self.calm.is_set():
                    self.mortal("leaderboard", "admin", "requeue", name).wait()
            time.sleep(0.5)

    def state(self, name: str) -> str | None:
        while True:
            try:
                found = self.place.store.status(name)
                return found["state"] if found else None
            except DBAPIError:
                time.sleep(0.2)

    def disturbing(self) -> None:
        """What happens to a machine."""
        kinds = {"a scoring process is killed": self.kill_child, "the database is locked": self.lock}
        kinds["a server or a scorer is killed at any moment"] = self.kill
        if self.disk:
            kinds["the disk is full"] = self.fill
        if self.restart:
            kinds["the database's server is killed"] = self.restart
        while not self.calm.wait(self.random.uniform(2.0, 5.0)):
            kind = min(kinds, key=lambda k: (self.outside[k], self.random.random()))
            if kinds[kind]() is not False:
                self.outside[kind] += 1

    def kill_child(self) -> bool:
        for _ in range(100):  # they live for a second
            for number, _words in self.children():
                return _signal(number, signal.SIGKILL)
            time.sleep(0.02)
        return False

    def kill(self) -> None:
        self.random.choice(list(self.processes.values())).kill()

    def fill(self) -> None:
        ballast = Path(self.place.board.folder) / "ballast"
        try:
            with ballast.open("wb", buffering=0) as out:
                while out.write(bytes(1 << 20)):
                    pass
        except OSError:
            self.calm.wait(self.random.uniform(1.0, 3.0))
        finally:
            ballast.unlink()

    def lock(self) -> None:
        url = make_url(self.database)
        seconds = self.random.uniform(1.0, 3.0 * LOCK)
        if url.get_backend_name() == "sqlite":
            holder = sqlite3.connect(url.database or "", isolation_level=None, timeout=10)
            try:
                holder.execute("BEGIN IMMEDIATE")
                self.calm.wait(seconds)
                holder.execute("ROLLBACK")
            except sqlite3.OperationalError:  # nobody wrote, or the disk is full
                pass
            finally:
                holder.close()
            return
        engine = create_engine(self.database)
        try:
            with engine.begin() as connection:
                connection.execute(text("LOCK TABLE submissions IN ACCESS EXCLUSIVE MODE"))
                self.calm.wait(seconds)
        except DBAPIError:
            pass
        finally:
            engine.dispose()

    def run(self) -> None:
        """Rounds of clients until enough have died, then until nothing waits."""
        config = ("--no-scorer",)
        slots = [
            (f"server {n}", "leaderboard", "serve", "--port", str(port), *config)
            for n, port in enumerate(self.ports)
        ]
        slots += [(f"scorer {n}", "leaderboard.scoring") for n in range(SCORERS)]
        threads = [threading.Thread(target=self.keep, args=slot) for slot in slots]
        others = (self.breaking, self.requeueing, self.disturbing)
        threads += [threading.Thread(target=part) for part in others]
        for thread in threads:
            thread.start()
        try:
            while not self.failures and (not self.sent or len(self.deaths()) < self.most):
                clients = [
                    threading.Thread(target=self.send, args=(n, name))
                    for n, name in enumerate(self.pack(CLIENTS))
                ]
                for client in clients:
                    client.start()
                for client in clients:
                    client.join()
                self.wait(until=lambda: len(self.deaths()) >= self.most)
            self.calm.set()
            self.wait()
        finally:
            self.calm.set()
            self.ending.set()
            while any(thread.is_alive() for thread in threads):
                for process in list(self.processes.values()):
                    process.kill()
                time.sleep(0.1)

    def wait(self, until: Callable[[], bool] = lambda: False) -> None:
        """Until nothing waits (what fails again and again may), or `until`."""
        deadline = time.monotonic() + 900
        settled = ("done", "failed", "withdrawn")
        while not until():
            left = [name for name in self.acknowledged if name not in self.broken or self.calm.is_set()]
            left = [name for name in left if self.state(name) not in settled]
            if not left:
                return
            assert time.monotonic() < deadline, f"{len(left)} wait for ever: {left[:3]}"
            time.sleep(0.5)

    def check(self) -> None:
        """Every acknowledged submission was scored exactly once; nothing else is there."""
        assert not self.failures, self.failures
        assert self.acknowledged == dict.fromkeys(self.sent, 2)
        with Session(self.place.store.engine) as session:
            rows = session.execute(select(Submission.hash, Submission.state, Submission.error)).all()
            states = {name: state for name, state, _ in rows}
            errors = {name: error for name, _, error in rows}
            results = Counter(session.scalars(select(Result.submission)))
            audited = select(Audit.subject, Audit.action)
            ends = Counter(tuple(row) for row in session.execute(audited))
        assert set(states) == set(self.sent), "none lost, none besides"
        for name, state in states.items():
            said = {action: ends[name, action] for action in ("submit", "done", "fail", "requeue")}
            assert said["submit"] == 1, (name, said)
            assert said["done"] == results[name] <= 1, (name, said)
            if name in self.withdrawn:
                assert state == "withdrawn", (name, state)
            elif name in self.broken:
                assert state in ("done", "failed"), (name, state)
                assert said["fail"] + said["done"] == 1 + said["requeue"], (name, said)
            else:
                assert state == "done" and said["done"] == 1 and not said["fail"], (
                    *(name, state, said, errors[name]),
                )
            if state == "done":
                for row in self.place.store.results(name):
                    run = Path(self.place.board.folder) / "scored" / row["folder"]
                    assert (run / "metrics.json").is_file(), (name, run)

    def table(self) -> str:
        """Deaths by change of state and point, as Markdown."""
        found = Counter(tuple(line.split("\t")) for line in self.deaths())
        changes: dict[str, Counter[str]] = {}
        for (change, point), count in found.items():
            changes.setdefault(change, Counter())[point] += count
        rows = [f"| {len(self.deaths())} deaths in | of them |", "|---|---|"]
        for change, points in sorted(changes.items(), key=lambda row: -row[1].total()):
            rows.append(
                f"| `{change}`: {points.total()} | {', '.join(f'{p} {n}' for p, n in points.most_common())} |"
            )
        rows += [f"| beside them | {', '.join(f'{k}: {n}' for k, n in sorted(self.outside.items()))} |"]
        audited = Counter()
        with Session(self.place.store.engine) as session:
            audited.update(session.scalars(select(Audit.action)))
        told = ", ".join(f"{action} {audited[action]}" for action in ("submit", "retry", "fail", "done"))
        rows += [f"| the log of the board | {len(self.sent)} sent; {told} |"]
        return "\n".join(rows)


def crowd(
    folder: Path, runs: Path, database: str, most: int, seed: int, restart: Callable[[], None] | None = None
) -> Crowd:
    """A crowd that has run and been checked, on a board in `folder`. database: its address; for SQLite a file
    on the board's disk is taken instead. Raises AssertionError for what was lost or done twice."""
    with small_disk(folder / "board") as disk:
        if database.startswith("sqlite"):
            database = f"sqlite:///{folder}/board/board.sqlite?timeout={LOCK}"
        else:
            database += f"&options=-c%20lock_timeout%3D{LOCK}s"
        limits = {"scoring": {"seconds": 300, "gigabytes": 8}, "per_minute": 10**6}
        place = Place(folder, runs, database, **limits)
        found = Crowd(place, database, most, seed, disk, restart)
        try:
            found.run()
            found.check()
            found.text = found.table()
        finally:
            place.store.engine.dispose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=220, help="deaths of servers and scorers a database")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--database", choices=("sqlite", "postgresql"), nargs="*", default=("sqlite", "postgresql")
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills") as folder:
        scenes = Path(folder, "scenes")
        generate(ScenesConfig(split="test", clips=16, seed=3, max_crowd=4), scenes)
        runs = Path(folder, "runs")
        runs.mkdir()
        baselines(scenes, runs)
        for which in given.database:
            at = Path(folder, which)
            at.mkdir()
            began = time.monotonic()
            if which == "sqlite":
                found = crowd(at, runs, "sqlite", given.kills, given.seed)
            else:
                with Postgres() as server:
                    restart = partial(server.control, "-m", "immediate", "restart")
                    found = crowd(at, runs, server.url, given.kills, given.seed, restart)
            print(f"\n{which}, {CLIENTS} clients, {time.monotonic() - began:.0f} s: none lost, none twice\n")
            print("" if found.disk else "a full disk was not tried: no file system may be mounted here\n")
            print(found.text, flush=True)


if __name__ == "__main__":
    main()
