"""Private labels: nothing that depends on them is given out before their phase ends, not by any route."""

import hashlib
import io
import json
import zipfile
from datetime import datetime, timedelta

import numpy as np
import pytest
from board_fixtures import CARD, Place
from perf import leaderboard_leak

from bench.tasks import PRIMARIES
from leaderboard import commands
from leaderboard.board import phases
from leaderboard.build import build
from leaderboard.card import Card
from leaderboard.intake import submission
from leaderboard.store import disclosure, ranking
from leaderboard.store.queue import Limited
from leaderboard.store.results import Scored
from leaderboard.store.standings import Filter
from leaderboard.store.tables import now
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, save

HEAT = next(name for name in PRIMARIES if name.startswith("heatmap."))
CLIPS, OPTIONS = 24, ("fire", "a fall", "a fight", "nothing")
ACCEPTED = ("*/*", "text/html", "application/json", "text/csv", "image/*")


def hidden(folder, seed: int, name: str = "hidden"):
    """A suite over clips whose questions are the same for every seed, and whose labels are not."""
    rng, samples = np.random.default_rng(seed), []
    for n in range(CLIPS):
        event, yes = int(rng.integers(4)), bool(rng.integers(2))
        asked = (
            Question("mcq", "What happens?", "ABCD"[event], OPTIONS, "event"),
            Question("judgement", "Is it odd?", "Yes" if yes else "No"),
        )
        samples.append(
            Sample(
                f"{name}{n:02d}",
                "s",
                "test",
                Video("x.mp4"),
                "anomalous" if yes else "normal",
                questions=asked,
            )
        )
    (folder / name).mkdir(parents=True)
    (folder / name / "x.mp4").touch()
    save(samples, folder / name)
    plan = {"name": "s", "data": str(folder / name), "tasks": ["mcq", "judgement"], "resamples": 50}
    (folder / f"{name}.yaml").write_text(json.dumps(plan))
    return str(folder / f"{name}.yaml")


def packed(folder, parts: dict[str, list[str]], **card) -> bytes:
    """A submission of predictions' lines, by suite."""
    for name, lines in parts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "predictions.jsonl").write_text("\n".join(lines))
    (folder / "card.yaml").write_text(json.dumps(CARD | card))
    (folder / "manifest.json").write_text(json.dumps(submission.manifest_of(folder)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder))
    return out.getvalue()


def answers(seed: int, name: str = "hidden") -> list[str]:
    """Lines of predictions; some can be read, one is none, one names no clip."""
    rng, lines = (
        np.random.default_rng(seed),
        ["no line", '{"id": "unknown#0", "task": "mcq", "response": "A"}'],
    )
    for n in range(CLIPS):
        event, verdict = "ABCD"[int(rng.integers(4))], str(rng.choice(["Yes", "No"]))
        for k, (task, said) in enumerate((("mcq", event), ("judgement", verdict))):
            lines.append(json.dumps({"id": f"{name}{n:02d}#{k}", "task": task, "response": said}))
    return lines


@pytest.fixture
def time(monkeypatch):
    """A clock that stands still until it is set."""
    found = [datetime(2026, 1, 1)]
    monkeypatch.setattr(phases, "clock", lambda: found[0])
    return found


def board_of(folder, runs, seed, following=True) -> tuple[Place, list[str], list[dict]]:
    """A board with a private split, and what it answered to five submissions of two accounts: one is sent
    again under its name, one twice, one copied by the other account, one has its answers for a name of its
    own."""
    folder.mkdir()
    phase = {"following": [hidden(folder, 9, "next")] if following else []}
    private = {"config": hidden(folder, seed), "split": "private", "table": "scenes", "phases": phase}
    made = Place(folder, runs, suites={"scenes": {"config": str(runs / "suite.yaml")}, "hidden": private})
    lines = map(json.loads, (runs / "random" / "samples.jsonl").read_text().splitlines())
    public = [json.dumps({key: line[key] for key in ("id", "task", "response")}) for line in lines]
    sent = [
        (made.token, "guess", answers(100)),
        (made.token, "guess", answers(101)),
        (made.token, "own", answers(102)),
        (made.token, "own", answers(102)),
        (made.other, "copy", [line.replace('"Yes"', '"yes. "') for line in answers(102)]),
    ]
    receipts = []
    for n, (token, name, lines) in enumerate(sent):
        data = packed(folder / f"sent{n}", {"scenes": public, "hidden": lines}, name=name)
        receipts.append(made.send(data, token).json())
    made.score()
    return made, list(dict.fromkeys(receipt["hash"] for receipt in receipts)), receipts


def walked(place, names) -> dict[str, bytes]:
    """What all GET routes of a board answer, headers too, to a visitor and to an owner who ask for every kind
    of answer, and all files of its export."""
    values = {"name_hash": names, "suite": ["scenes", "hidden"], "place": ["0"], "sha256": ["0" * 64]}
    values["kind"] = ["csv", "json", "parquet"]
    paths = ["/api/models?name=guess", f"/compare?suite=scenes&m={names[0]}&m={names[1]}"]
    for route in place.client.app.routes:
        if "GET" not in getattr(route, "methods", ()):
            continue
        found = [route.path]
        for name, of in values.items():
            found = [path.replace(f"{{{name}}}", value) for path in found for value in of]
        assert not any("{" in path for path in found), f"{route.path}: a new route is walked too"
        paths += found
    answered = {}
    for path in dict.fromkeys(paths):
        mark = "&" if "?" in path else "?"
        asked = [path, f"{path}{mark}split=private", f"{path}{mark}split=private&older=1&sort=mcq.accuracy"]
        for way, headers in (("visitor", {}), ("owner", place.bearer())):
            for url in asked:
                for kind in ACCEPTED if url == path else ACCEPTED[:1]:
                    answer = place.client.get(
                        url, headers={**headers, "Accept": kind}, follow_redirects=False
                    )
                    told = [f"{k}: {v}" for k, v in sorted(answer.headers.items())]
                    body = answer.content
                    if path == "/metrics":  # how long requests took is noise
                        told = []
                        body = b"\n".join(x for x in body.splitlines() if x.startswith(b"leaderboard_"))
                    elif "/runs/" in path and answer.is_success:  # when it was scored, too
                        with zipfile.ZipFile(io.BytesIO(body)) as run:
                            assert run.namelist() == ["metrics.json", "run.json", "samples.jsonl"]
                            body = b"".join(run.read(name) for name in ("metrics.json", "samples.jsonl"))
                    answered[f"{way} {kind} {url}"] = f"{answer.status_code} {told}\n".encode() + body
    build(place.board, place.store, place.folder / "site")
    files = (p for p in (place.folder / "site").rglob("*") if p.is_file())
    return answered | {str(p.relative_to(place.folder)): p.read_bytes() for p in files}


def test_no_route_tells_private_labels_before_their_phase_ends(tmp_path, baseline_runs, time):
    """Two boards that differ in their private labels only answer the same, byte by byte."""
    found = []
    for n in range(2):
        place, names, receipts = board_of(tmp_path / str(n), baseline_runs, n)
        found.append((place, receipts, walked(place, names[::3])))
    (place, receipts, one), (twin, others, other) = found
    assert receipts == others and one.keys() == other.keys() and len(one) > 500
    assert [path for path in one if one[path] != other[path]] == []
    first = f"visitor */* /models/{names[0]}"
    assert b"shown when the phase ends on 2026-04-01" in one[first]
    private = [
        {r["hash"]: r for r in (p.store.results(h)[-1] | {"hash": h} for h in names)} for p in (place, twin)
    ]
    assert private[0] == private[1], "what the store gives out, too"

    time[0] += timedelta(days=91)
    for board in (place, twin):
        assert board.board.taken == ["scenes"] and board.board.turn(board.store.waits) == ["hidden"]
        board.pages.adopt(board.board.open())
    ended = [p.client.get(f"/models/{names[1]}").content for p in (place, twin)]
    assert ended[0] != ended[1], "what is shown after a phase's end does depend on labels"
    for board in (place, twin):
        board.store.engine.dispose()


def test_what_a_phase_leaves_is_what_stands_rounded(tmp_path, baseline_runs, time):
    place, names, _ = board_of(tmp_path / "b", baseline_runs, 3)
    first, second, own, copy = names
    time[0] += timedelta(days=91)
    assert place.board.turn(lambda name: True) == [], "what was sent is scored before its phase ends"
    assert place.board.turn(place.store.waits) == ["hidden"]
    place.pages.adopt(place.board.open())
    assert [phase.ended is None for phase in place.board.book("hidden").phases()] == [False, True]
    replaced, stands = (place.store.results(name)[-1] for name in (first, second))
    assert replaced["metrics"] == {} and "a newer submission of this name" in replaced["held"]
    assert set(stands["metrics"]) == {"mcq.accuracy", "judgement.accuracy"} and stands["summary"] == {}
    for metric in stands["metrics"].values():
        assert metric["n"] is None and round(metric["value"] / 0.05, 6) == round(metric["value"] / 0.05)
    data = place.client.get("/api/tables/scenes?split=private").json()
    assert {row["hash"] for row in data["models"]} == {second, own, copy} and data["models"][0]["rank"] == 1
    assert place.client.get(f"/api/submissions/{second}/runs/hidden").status_code == 404
    late = packed(tmp_path / "late", {"hidden": answers(7)}, name="late")
    assert place.send(late).json()["state"] == "queued"
    with pytest.raises(InputError, match="no line could be used"):  # clips of an ended phase
        place.score()
    place.store.engine.dispose()


def test_a_split_without_a_next_phase_is_retired(tmp_path, baseline_runs, time):
    place, *_ = board_of(tmp_path / "b", baseline_runs, 3, following=False)
    place.board.book("hidden").close()
    assert place.board.taken == ["scenes"] and place.board.turn(place.store.waits) == ["hidden"]
    opened = place.board.open()
    assert opened.keys() == {"scenes"}
    place.pages.adopt(opened)
    assert "rounded as its interval allows" in place.client.get("/suites/scenes?split=private").text
    refused = place.send(packed(tmp_path / "late", {"hidden": answers(7)}))
    assert refused.status_code == 422 and "hidden" in refused.json()["detail"]
    # Who comes now could not answer it: a public result has a rank again, and the pages say why.
    time[0] += timedelta(hours=1)
    for split in ("public", "private"):
        assert (
            "Retired 2026-01-01" in place.client.get(f"/suites/scenes?split={split}").text
            or split == "public"
        )
    page = place.client.get("/suites/scenes").text
    assert "those sent since 2026-01-01, when it was asked no more, need not" in page
    newcomer = place.scored("oracle")
    row = next(
        row for row in place.client.get("/api/tables/scenes").json()["models"] if row["hash"] == newcomer
    )
    assert row["rank"] == 1 and row["unranked"] is None
    assert "No rank in the table" not in place.client.get(f"/models/{newcomer}").text
    place.store.engine.dispose()


def test_a_versions_name_is_made_of_no_label(tmp_path):
    book = phases.Book(tmp_path, 1)
    book.begin(1)
    one, other = book.called(1, "digest", "inputs"), book.called(1, "another digest", "inputs")
    assert one != other and book.called(1, "digest", "inputs") == one
    fresh = phases.Book(tmp_path / "twin", 1)
    fresh.begin(1)
    assert fresh.called(1, "yet another", "inputs") == one


def test_a_next_phase_that_cannot_be_opened_ends_nothing(tmp_path, baseline_runs, time):
    place, names, _ = board_of(tmp_path / "b", baseline_runs, 3)
    (tmp_path / "b/next.yaml").write_text("{}")
    time[0] += timedelta(days=91)
    with pytest.raises(InputError):
        place.board.turn(place.store.waits)
    assert len(place.board.book("hidden").phases()) == 1 and place.store.results(names[0])[-1]["held"]
    place.store.engine.dispose()


def test_a_split_that_cannot_be_turned_holds_up_no_other(tmp_path, baseline_runs, time):
    broken = tmp_path / "broken.yaml"
    broken.write_text("{}")
    found = {}
    for name, following in (("first", broken), ("second", hidden(tmp_path, 1, "next")), ("third", broken)):
        private = {"config": hidden(tmp_path, 2, name), "split": "private", "table": f"of {name}"}
        found[name] = private | {"phases": {"following": [str(following)]}}
        found[f"of {name}"] = {"config": str(baseline_runs / "suite.yaml")}
    scenes = {"scenes": {"config": str(baseline_runs / "suite.yaml")}}
    place = Place(tmp_path, baseline_runs, suites=scenes | found)
    time[0] += timedelta(days=91)
    for _ in range(2):
        with pytest.raises(InputError, match=r"first: .*; third: "):
            commands._turn_phases(place.board, place.store, place.pages)
        assert {n: len(place.board.book(n).phases()) for n in place.board.limits} == {
            "first": 1,
            "second": 2,
            "third": 1,
        }
        assert place.pages.phases == {"first": 1, "second": 2, "third": 1}, "what has turned is served"
    place.store.engine.dispose()


def test_the_table_of_a_split_that_is_retired_stays(tmp_path, baseline_runs, time):
    place, names, _ = board_of(tmp_path / "b", baseline_runs, 3)
    place.board.suites["hidden"].retired = "2026-01-31"
    for _ in range(3):
        time[0] += timedelta(days=91)
        commands._turn_phases(place.board, place.store, place.pages)
        assert [phase.ended is None for phase in place.board.book("hidden").phases()] == [False]
        data = place.client.get("/api/tables/scenes?split=private").json()
        assert {row["hash"] for row in data["models"]} == set(names[1:])
    assert place.board.open().keys() == {"scenes"}
    place.store.engine.dispose()


def test_private_figures_are_rounded_to_what_their_interval_supports():
    halves = {0.003: 0.01, 0.012: 0.01, 0.034: 0.02, 0.06: 0.05, 0.13: 0.1, 0.3: 0.2}
    assert {half: disclosure.step(half) for half in halves} == halves
    given = disclosure.rounded(
        {
            "mcq.accuracy": {"value": 0.4375, "low": 0.37, "high": 0.51, "n": 200},
            "judgement.accuracy": {"value": 0.4, "low": None, "high": None, "n": 3},
            "mcq.recall": {"value": 0.4, "low": 0.3, "high": 0.5, "n": 3},
        }
    )
    assert given == {"mcq.accuracy": {"value": 0.45, "low": 0.35, "high": 0.55, "n": None}}


def test_a_private_split_is_answered_a_number_of_times_in_a_life(store):
    store.create_account("lab", daily=99)
    limits = {"hidden": phases.Phases(account=3, family=2)}

    def send(n, name, suite="hidden"):
        card = Card(name, "x", "mit", "none", ["d"])
        return store.submit("lab", f"{n:064x}", card, [suite], limits=limits)

    assert send(1, "guess-1") and send(2, "Guess 2")
    with pytest.raises(Limited, match="2 times by this model family"):
        send(3, "guess_3")
    assert send(4, "other") and send(5, "guess", "scenes")
    store.withdraw(None, f"{4:064x}")
    with pytest.raises(Limited, match="3 times by this account"):
        send(6, "a third")


def test_what_ranks_is_who_answers_the_private_split(tmp_path, baseline_runs, time):
    place, *_ = board_of(tmp_path / "b", baseline_runs, 3)
    version = place.pages.versions["scenes", "public"]
    place.store.submit("lab", "f" * 64, Card("perfect", "x", "mit", "none", ["d"]), ["scenes"])
    perfect = {"value": 1.0, "low": 0.99, "high": 1.0, "n": 300}
    scored = [Scored("scenes", "public", version, {"mcq.accuracy": perfect}, {})]
    place.store.finish(place.store.claim(60), scored)
    rows = place.client.get("/api/tables/scenes").json()["models"]
    assert [row["rank"] for row in rows] == [1, 1, 1, None] and rows[-1]["hash"] == "f" * 64
    assert "Only models that answer the private split too" in place.client.get("/suites/scenes").text
    place.store.engine.dispose()


def test_a_task_answered_in_public_alone_gives_no_rank(store):
    """Heatmaps of public clips alone, beside words on both splits; who makes none for either keeps a rank."""

    def send(name, public, private):
        name_hash = hashlib.sha256(name.encode()).hexdigest()
        store.submit("lab", name_hash, Card(name, "x", "mit", "none", ["d"]), ["scenes", "hidden"])
        found = [Scored("scenes", "public", "v", public, {})]
        found += [Scored("scenes", "private", "p", private, {})] if private else []
        assert store.finish(store.claim(60), found)
        return name_hash

    def m(value):
        return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 100}

    store.create_account("lab", 100)
    words = {"mcq.accuracy": m(0.6), "mcq.missing": m(0.0)}
    no_maps = {"heatmap.missing": m(1.0)}
    maps = {HEAT: m(0.9), "heatmap.missing": m(0.0)}
    cheat = send("cheat", words | maps, words | no_maps)
    honest = send("honest", words | maps, words | maps)
    plain = send("plain", words | no_maps, words | no_maps)
    silent = send("silent", words, {"mcq.accuracy": m(0.1), "mcq.missing": m(1.0)})
    found = store.standings("scenes", "public", "v", "mcq.accuracy", Filter(), private=True)
    counted = dict(zip(found.hashes, found.counted, strict=True))
    assert counted == {cheat: False, honest: True, plain: True, silent: False}
    retired = now()
    late = send("late", words | maps, None)
    given = "scenes", "public", "v", "mcq.accuracy", Filter()
    for until, has in ((None, False), (retired, True)):
        found = store.standings(*given, private=True, until=until)
        counted = dict(zip(found.hashes, found.counted, strict=True))
        assert (counted[late], counted[cheat]) == (has, False), "who could not answer it, ranks"


def test_columns_are_what_any_submission_has(store):
    """Heatmaps may be left out; twenty that do take nobody's column away."""
    store.create_account("lab", 100)
    m = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    for n in range(25):
        store.submit("lab", f"{n:064x}", Card(f"m{n}", "x", "mit", "none", ["d"]), ["scenes"])
        metrics = {"mcq.accuracy": m} | ({HEAT: m} if n == 0 else {})
        split = [Scored("scenes", s, "v", metrics, {}) for s in ("public", "private")]
        store.finish(store.claim(60), split)
    assert ranking.columns(store.metrics("scenes", "public", "v")) == ["mcq.accuracy", HEAT]


@pytest.mark.slow
def test_strangers_read_labels_out_of_exact_scores_and_out_of_a_phase_none(tmp_path, monkeypatch):
    """The attack of tests/perf/leaderboard_leak.py over few clips: by exact scores all labels, by rounded
    ones many, before a phase has ended none."""
    monkeypatch.setattr(leaderboard_leak, "CLIPS", 16)
    monkeypatch.setattr(leaderboard_leak, "OWN", 16)
    found, tries = {}, [("exact", 32), ("rounded", 32), ("one", 24), ("year", 16)]
    for policy, most in tries:
        adaptive = policy in ("rounded", "one")
        folder = tmp_path / policy
        folder.mkdir()
        found[policy], count = leaderboard_leak.both(policy, adaptive, 0, most, folder)
        assert count == most
    assert found["exact"] == [50.0] and found["rounded"][0] > 10, "of 50 that a blind guess leaves"
    assert found["one"] == [0.0] and found["year"] == [0.0] * 4
