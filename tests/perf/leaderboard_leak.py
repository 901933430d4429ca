"""How many labels of a private split strangers read out of a board: 200 clips with balanced labels, ten
accounts, a year. They know how the board works and see all that it answers: figures, ranks, flags, statuses,
headers, lengths of pages, downloads, receipts with counts of rejected lines, /metrics. Everything is sent,
scored and read by the server's own routes and scorer.

What of all that tells how many answers were right they learn on a board of their own with the same policy,
whose labels they know: every number that a route gives is a column, and the ones that go with the hits there
are used, weighed by ridge regression. Labels come by least squares from the hits so estimated, over a design

fixed      of random answers, each submission alike
adaptive   drawn anew after every BLOCK submissions around the guess so far, 30 of 100 answers turned

Every board is attacked twice, with labels and with the opposite ones: where nothing depends on labels the two
guesses are the same, and what luck gives one it takes from the other.

python tests/perf/leaderboard_leak.py --seeds 2
"""

import argparse
import copy
import io
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from fastapi.testclient import TestClient

from bench import oracle, score
from bench import suite as suites
from bench.suite import Item, Suite
from leaderboard.board import config as boards
from leaderboard.board import phases
from leaderboard.intake import archive, submission
from leaderboard.scoring import scorer
from leaderboard.store import Store, disclosure
from leaderboard.store.database import connect
from leaderboard.web.app import build_app
from leaderboard.web.pages import Pages
from tvad.data import Question, Sample, Video, save

CLIPS, ACCOUNTS, BLOCK, OWN = 200, 10, 20, 40
TURNED = 0.3  # of the answers of an adaptive design
START = datetime(2026, 1, 1)
POLICIES = {
    "exact scores at once, as before": "exact",
    "rounded scores at once": "rounded",
    "phases, all sent in one": "one",
    "phases, sent over a year": "year",
    "phases, clips of one that has ended": "ended",
}
CARD = {"organisation": "x", "licence": "mit", "contamination": "none known", "data": ["none"]}
NUMBER, DATE = re.compile(r"-?\d+\.\d+|\d+"), r"\d{4}-\d\d-\d\d\S*( \d\d:\d\d\S*)?"


def _suite(folder: Path, name: str, labels: np.ndarray) -> str:
    samples = [
        Sample(
            f"{name}{n:03d}",
            "s",
            "test",
            Video("x.mp4"),
            "anomalous" if odd else "normal",
            questions=(Question("judgement", "Is it odd?", "Yes" if odd else "No"),),
        )
        for n, odd in enumerate(labels)
    ]
    (folder / name).mkdir()
    (folder / name / "x.mp4").touch()
    save(samples, folder / name)
    plan = {"name": "s", "data": str(folder / name), "tasks": ["judgement"], "resamples": 20}
    (folder / f"{name}.yaml").write_text(json.dumps(plan))
    return str(folder / f"{name}.yaml")


def _checked(sent: Path, unpacked: Path, known: list[str], limits: object) -> submission.Verified:
    """A submission, checked in this process: that it has one of its own takes a second each time."""
    archive.unpack(sent, unpacked)
    return submission.verify(unpacked, known)


class World:
    """A board with a policy, ten accounts, a clock, and four phases' labels that only the scorer knows."""

    def __init__(self, folder: Path, policy: str, labels: list[np.ndarray]):
        folder.mkdir()
        self.labels, self.time = labels, START
        private = [_suite(folder, f"hidden{n}", of) for n, of in enumerate(labels)]
        days = 3650 if policy in ("exact", "rounded", "one") else 90
        many = {} if policy in ("one", "year", "ended") else {"account": 10**6, "family": 10**6}
        phase = {"days": days, "following": private[1:], **many}
        plan = {
            "folder": str(folder / "board"),
            "daily": 10**6,
            "per_minute": 10**6,
            "suites": {
                "open": {"config": _suite(folder, "open", np.arange(2) == 1)},
                "hidden": {"config": private[0], "split": "private", "table": "open", "phases": phase},
            },
        }
        (folder / "board.yaml").write_text(json.dumps(plan))
        (folder / "board").mkdir()
        self.folder, self.board = folder, boards.read(str(folder / "board.yaml"))
        self.store = Store(connect(self.board.url))
        self.store.migrate()
        self.pages = Pages(self.board, self.store, self.board.open())
        self.tokens = [self.store.create_account(f"a{n}", 10**6) for n in range(ACCOUNTS)]
        app = build_app(self.board, self.store, self.pages)
        app.state.site.uploads.check = _checked
        self.client = TestClient(app)
        self.sent: list[str] = []
        self.told: list[list[float]] = []  # receipts, and what changed at once
        self.known: dict[int, list[float]] = {}

    @property
    def number(self) -> int:
        """Of the phase that is asked, from 0."""
        return len(self.board.book("hidden").phases()) - 1

    def pass_time(self, by: timedelta) -> None:
        """Let time pass; a phase whose end has come ends."""
        self.time += by
        if self.board.turn(self.store.waits):
            self.pages.adopt(self.board.open())

    def send(self, answers: np.ndarray) -> bool:
        """Send and score one submission; False where it is refused for good."""
        n = len(self.sent)
        work = self.folder / "work" / str(n)
        (work / "hidden").mkdir(parents=True)
        name = chr(97 + n // ACCOUNTS % 26) + chr(97 + n // ACCOUNTS // 26)  # a family of its own each time
        (work / "card.yaml").write_text(json.dumps(CARD | {"name": name}))
        lines = [
            json.dumps({"id": f"hidden{self.number}{k:03d}#0", "task": "judgement", "response": said})
            for k, said in enumerate(np.where(answers, "Yes", "No"))
        ]
        (work / "hidden/predictions.jsonl").write_text("\n".join([*lines, "no line"]))
        (work / "manifest.json").write_text(json.dumps(submission.manifest_of(work)))
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as out:
            for file in sorted(work.rglob("*.*")):
                out.write(file, file.relative_to(work).as_posix())
        bearer = {"Authorization": f"Bearer {self.tokens[n % ACCOUNTS]}"}
        answer = self.client.post("/api/submissions", content=packed.getvalue(), headers=bearer)
        if answer.status_code == 429:
            return False
        job = self.store.claim(60)
        assert job is not None
        with tempfile.TemporaryDirectory(dir=self.board.folder) as out:
            phases = scorer.phases_of(self.board, job)
            scorer.child(self.board, self.board.submission(job.hash), Path(out), phases)
            self.store.finish(job, scorer.collected(self.board, Path(out)), 1.0)
        self.sent.append(job.hash)
        told = answer.text.replace(job.hash, "")
        self.told.append([answer.status_code, *numbers(told, 4), *self._common()])
        return True

    def _common(self) -> list[float]:
        """What the routes tell that is about no submission: statuses, lengths, gauges."""
        found: list[float] = []
        for path in ("/suites/open?split=private", "/suites/open/versions", "/metrics"):
            answer = self.client.get(path)
            lines = [line for line in answer.text.splitlines() if line.startswith("leaderboard_")]
            gauges = [float(line.split()[-1]) for line in lines if "_created" not in line]
            length = 0 if path == "/metrics" else len(answer.content)
            found += [answer.status_code, length, len(answer.headers), *(gauges + [0.0] * 20)[:20]]
        return found

    def _seen(self, n: int) -> list[float]:
        """All numbers that the routes tell about a submission, the same places each time."""
        name, found = self.sent[n], list(self.told[n])
        asked = {
            f"/models/{name}": 60,
            f"/api/submissions/{name}": 20,
            f"/api/submissions/{name}/runs/open": 2,
            f"/models/{name}/open/samples": 2,
        }
        for path, most in asked.items():
            owner = {"Authorization": f"Bearer {self.tokens[n % ACCOUNTS]}"}
            answer = self.client.get(path, headers=owner)
            plain = re.sub(DATE, "", answer.text.replace(name, ""))
            found += [answer.status_code, len(answer.content), len(answer.headers), plain.count("warn")]
            found += numbers(plain, most)
        return found

    def read(self, places: list[int]) -> np.ndarray:
        """(submissions, columns) of what is seen of submissions."""
        table = self.client.get("/api/tables/open?split=private&limit=1000").json()["models"]
        at = {row["hash"]: (place, row) for place, row in enumerate(table)}
        rows = []
        for n in places:
            if n not in self.known:
                self.known[n] = self._seen(n)
            place, row = at.get(self.sent[n], (-1, {"rank": 0, "flagged": 0, "metrics": {}}))
            figures = [m[key] or 0.0 for m in row["metrics"].values() for key in ("value", "low", "high")]
            # As shares: what is learned among OWN rows would weigh places among many otherwise.
            place, rank = (at / max(1, len(table)) for at in (place, row["rank"] or 0))
            own = [place, rank, float(row["flagged"]), *(figures + [0.0] * 12)[:12]]
            rows.append(own + self.known[n])
        return np.array(rows, float)


def numbers(text: str, most: int) -> list[float]:
    """The first numbers of a text, so many."""
    return ([float(found) for found in NUMBER.findall(text)] + [0.0] * most)[:most]


class Lens:
    """From all that is seen of a submission to how many of its answers are right, learned on an own board."""

    def __init__(self, x: np.ndarray, hits: np.ndarray):
        spread = x.std(0)
        with np.errstate(all="ignore"):
            go = np.nan_to_num(
                ((x - x.mean(0)) * (hits - hits.mean())[:, None]).mean(0) / spread / hits.std()
            )
        # Beyond what the best of so many idle columns shows by chance; else the best one all the same.
        bar = np.sqrt(2 * np.log(max(2, (spread > 0).sum())) / len(x)) * 1.2
        chosen = np.flatnonzero((np.abs(go) > bar) & (spread > 0))
        self.columns = chosen if chosen.size else np.argsort(-np.abs(go))[:1]
        self.mean, self.spread = x[:, self.columns].mean(0), np.maximum(spread[self.columns], 1e-12)
        z = (x[:, self.columns] - self.mean) / self.spread
        self.weights = np.linalg.solve(z.T @ z + 1e-3 * np.eye(z.shape[1]), z.T @ (hits - hits.mean()))

    def hits(self, x: np.ndarray) -> np.ndarray:
        """Estimated hits, beyond their mean."""
        return ((x[:, self.columns] - self.mean) / self.spread) @ self.weights


def guess(answers: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Labels by least squares, shrunk a little, from hits = (CLIPS + signs · labels) / 2."""
    if not len(answers):
        return np.ones(CLIPS, bool)
    signs = 2.0 * answers - 1
    told = 2 * (hits - hits.mean())
    signs = signs - signs.mean(0)
    return signs.T @ np.linalg.solve(signs @ signs.T + 0.5 * np.eye(len(signs)), told) >= 0


def _once(stack: ExitStack) -> None:
    """What is the same for every submission to a suite is computed once: its data, their hash, what its
    references earn."""
    known: dict[tuple, Any] = {}

    def kept(name: str, key: Any, make: Callable[[], Any]) -> Any:
        if (name, key) not in known:
            known[name, key] = make()
        return known[name, key]

    load, digest, lines = suites.load, Suite.digest, oracle.lines
    one = {
        "load": lambda suite: kept("load", suite.data, lambda: load(suite)),
        "digest": lambda suite, samples: kept("digest", suite.data, lambda: digest(suite, samples)),
        "lines": lambda items: kept("lines", items[0].sample.root, lambda: list(lines(items))),
    }
    stack.enter_context(patch.object(suites, "load", one["load"]))
    stack.enter_context(patch.object(Suite, "digest", one["digest"]))
    stack.enter_context(patch.object(oracle, "lines", one["lines"]))
    item = score.score_item

    def scored(asked: Item, text: str, *how: Any) -> dict[str, Any]:
        found = kept("item", (asked.question.answer, text), lambda: item(asked, text, *how))
        return copy.deepcopy(found)

    stack.enter_context(patch.object(score, "score_item", scored))


def opened(stack: ExitStack, policy: str, labels: list[np.ndarray], folder: Path) -> World:
    """A board with a policy, at a clock of its own."""
    _once(stack)
    stack.enter_context(patch.object(phases, "clock", lambda: START))
    world = World(folder, policy, labels)
    stack.callback(world.store.engine.dispose)
    stack.enter_context(patch.object(phases, "clock", lambda: world.time))
    if policy in ("exact", "rounded"):  # figures as they come, as before there were phases
        stack.enter_context(patch.object(disclosure.Disclosure, "_kept_back", staticmethod(lambda *_: False)))
    if policy == "exact":
        stack.enter_context(patch.object(disclosure, "rounded", lambda metrics: metrics))
    return world


def learned(policy: str, rng: np.random.Generator, folder: Path) -> Lens:
    """What tells hits, from a board of their own."""
    with ExitStack() as stack:
        labels = [rng.permutation(np.arange(CLIPS) % 2).astype(bool) for _ in range(4)]
        world = opened(stack, policy, labels, folder)
        answers = rng.random((OWN, CLIPS)) < 0.5
        for given in answers:
            world.send(given)
        if policy == "ended":
            world.pass_time(timedelta(days=91))
        return Lens(world.read(list(range(OWN))), (answers == labels[0]).sum(1).astype(float))


def attack(
    policy: str, adaptive: bool, labels: list[np.ndarray], lens: Lens, seed: int, most: int, folder: Path
) -> tuple[list[float], int]:
    """Labels recovered beyond the best blind guess, in points of 100, of every phase, and how many
    submissions that took."""
    rng = np.random.default_rng([seed, 7])
    with ExitStack() as stack:
        world = opened(stack, policy, labels, folder)
        rounds = 4 if policy == "year" else 1
        points = []
        for number in range(rounds):
            answers, places = np.zeros((0, CLIPS), bool), []
            best = np.ones(CLIPS, bool)
            for n in range(most // rounds):
                if adaptive and n and n % BLOCK == 0:
                    best = guess(answers, lens.hits(world.read(places)))
                turned = rng.random(CLIPS) < (TURNED if adaptive and n >= BLOCK else 0.5)
                if not world.send(best ^ turned):
                    break
                answers = np.vstack([answers, best ^ turned])
                places.append(len(world.sent) - 1)
                if policy in ("one", "year", "ended"):
                    world.pass_time(timedelta(days=89) / (most // rounds))
            if policy == "ended":
                world.pass_time(timedelta(days=3))
                world.known.clear()
            found = guess(answers, lens.hits(world.read(places))) if places else np.ones(CLIPS, bool)
            points.append(100 * (float((found == labels[number]).mean()) - 0.5))
            if policy == "year":
                world.pass_time(timedelta(days=2))
        return points, len(world.sent)


def both(policy: str, adaptive: bool, seed: int, most: int, folder: Path) -> tuple[list[float], int]:
    """Of every phase the mean of an attack with labels and one with the opposite labels, and how many
    submissions each took."""
    rng = np.random.default_rng(seed)
    labels = [rng.permutation(np.arange(CLIPS) % 2).astype(bool) for _ in range(4)]
    lens = learned(policy, rng, folder / "own")
    one, count = attack(policy, adaptive, labels, lens, seed, most, folder / "one")
    other, _ = attack(policy, adaptive, [~of for of in labels], lens, seed, most, folder / "other")
    print(policy, "adaptive" if adaptive else "fixed", seed, count, one, other, file=sys.stderr, flush=True)
    return [round((a + b) / 2, 9) for a, b in zip(one, other, strict=True)], count


def bound(values: list[float]) -> tuple[float, float]:
    """Mean and its upper 95 % bound over seeds and phases (Student, two-sided)."""
    from scipy.stats import t

    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(np.mean(values) + t.ppf(0.975, max(1, len(values) - 1)) * error)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--most", type=int, default=400, help="submissions, where no limit ends them earlier")
    parser.add_argument("--only", nargs="*", default=list(POLICIES.values()))
    parser.add_argument("--designs", nargs="*", default=["fixed", "adaptive"])
    known = parser.parse_args()
    print("| policy | design | submissions | points beyond blind | upper 95 % bound |\n|---|---|---|---|---|")
    for words, policy in POLICIES.items():
        if policy not in known.only:
            continue
        for way in known.designs:
            found: list[float] = []
            for seed in range(known.seed, known.seed + known.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    points, count = both(policy, way == "adaptive", seed, known.most, Path(folder))
                    found += points
            mean, upper = bound(found)
            most = f"{upper:.1f}" if len(found) > 1 else "–"
            print(f"| {words} | {way} | {count} | {mean:.1f} | {most} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
