"""The leaderboard's table with many submissions beside an empty one, in turns on the same server, by
wall and by processor time (of PostgreSQL's processes the latter says nothing); then the static export.

python tests/perf/leaderboard_table.py --submissions 10000
"""

import argparse
import json
import secrets
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from sqlalchemy import insert
from tqdm import tqdm

from bench.tasks import PRIMARIES
from leaderboard.board import config as boards
from leaderboard.build import build
from leaderboard.card import Card
from leaderboard.store import Store, ranking
from leaderboard.store.database import connect
from leaderboard.store.tables import DONE, Result, Score, Submission, now
from leaderboard.web.app import build_app
from leaderboard.web.pages import Pages
from tvad.data.scenes.dataset import ScenesConfig, generate

NOT_YET = "a metric not yet asked for, as a chosen column"


def fill(store: Store, version: str, count: int, seed: int) -> None:
    """Finished submissions of fifty accounts, with the metrics of all tasks."""
    rng = np.random.default_rng(seed)
    for n in range(50):
        store.create_account(f"lab {n}")
    names = [
        *PRIMARIES,
        *(
            f"{name.split('.')[0]}.{extra}"
            for name in PRIMARIES[:5]
            for extra in ("parse_failure", "well_formed", "missing")
        ),
    ]
    submissions, results, scores = [], [], []
    for n in range(count):
        card = Card(
            f"model {n}",
            f"lab {n % 50}",
            "mit",
            "none known",
            ["data"],
            parameters=float(rng.integers(10**8, 10**11)),
            open_weights=bool(n % 2),
        )
        submissions.append(
            {
                "hash": f"{n:064x}",
                "account_id": 1 + n % 50,
                "name": card.name,
                "card": json.dumps(vars(card)),
                "suites": '["scenes"]',
                "organisation": card.organisation,
                "parameters": card.parameters,
                "open_weights": card.open_weights,
                "uses_video": True,
                "baseline": False,
                "state": DONE,
                "attempts": 1,
                "created": now() + timedelta(seconds=n),
            }
        )
        metrics = {}
        for name in dict.fromkeys(names):
            value = float(rng.beta(5, 3))
            metrics[name] = {
                "value": value,
                "low": max(0.0, value - 0.03),
                "high": min(1.0, value + 0.03),
                "n": 300,
            }
            scores.append({"result_id": n + 1, "metric": name, **metrics[name]})
        results.append(
            {
                "id": n + 1,
                "submission": f"{n:064x}",
                "suite": "scenes",
                "split": "public",
                "suite_hash": version,
                "metrics": json.dumps(metrics),
                "blind": "{}",
                "summary": "{}",
            }
        )
    with store.engine.begin() as connection:
        for table, rows in ((Submission, submissions), (Result, results), (Score, scores)):
            connection.execute(insert(table), rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument(
        "--database", help="SQLAlchemy address of an empty database for the full table (default: SQLite)"
    )
    parser.add_argument("--seed", type=int, default=0)
    known = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        generate(ScenesConfig(split="test", setting="core", clips=8, max_crowd=1), folder / "data")
        (folder / "suite.yaml").write_text(
            json.dumps(
                {"name": "scenes", "data": str(folder / "data"), "tasks": ["mcq", "judgement", "temporal"]}
            )
        )
        clients, stores = {}, {}
        for name in ("empty", "full"):
            plan = {
                "folder": str(folder / name),
                "suites": {"scenes": {"config": str(folder / "suite.yaml")}},
            }
            (folder / f"{name}.yaml").write_text(
                json.dumps(plan | ({"database": known.database} if name == "full" else {}))
            )
            board = boards.read(str(folder / f"{name}.yaml"))
            Path(board.folder).mkdir()
            store = Store(connect(board.url))
            store.migrate()
            pages = Pages(board, store, board.open())
            if name == "full":
                fill(store, pages.versions["scenes", "public"], known.submissions, known.seed)
            stores[name] = store
            clients[name] = TestClient(build_app(board, store, pages))
        asked = {
            "first page": "/suites/scenes",
            "first page after a change": "/suites/scenes",
            "another metric": "/suites/scenes?sort=judgement.accuracy",
            "a page in the middle": "/suites/scenes?page=50",
            "words": "/suites/scenes?q=lab+7",
            "filters": "/suites/scenes?open=1&most=9e9",
        }
        # A turn each: nobody has asked for it since the server began, and the first page does not show it.
        full = stores["full"]
        version = full.versions("scenes", "public")[0]["hash"]
        metrics = full.metrics("scenes", "public", version)
        unseen = [name for name in metrics if name not in ranking.columns(metrics)]
        times: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for turn in tqdm(range(known.turns), desc="turns", disable=None):
            fresh = unseen[turn : turn + 1]
            first = dict(
                zip([NOT_YET], [f"/suites/scenes?sort={name}&col={name}" for name in fresh], strict=False)
            )
            for what, path in (asked | first).items():
                for name, client in clients.items():
                    if what.endswith("after a change"):  # the order that is kept is void
                        stores[name].create_account(secrets.token_hex(8))
                    wall, own = time.perf_counter(), time.process_time()
                    assert client.get(path).status_code == 200
                    spent = time.perf_counter() - wall, time.process_time() - own
                    times.setdefault((what, name), []).append(spent)
        print(
            f"| page, median of {known.turns} | {known.submissions:,d} submissions, ms | empty, ms | ratio"
            " | by processor time |\n|---|---|---|---|---|"
        )
        for what in (*asked, NOT_YET):
            many, none = (1000 * np.median(times[what, name], axis=0) for name in ("full", "empty"))
            wall, own = many / none
            print(f"| {what} | {many[0]:.0f} | {none[0]:.0f} | {wall:.1f} | {own:.1f} |")
        began = time.perf_counter()
        written = build(board, stores["full"], folder / "site")
        print(f"static export: {written:,d} pages in {time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
