import contextlib
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import ROOT, SHIPPED

from bench import blind, models, suite
from bench.cache import ResponseCache, content, identity
from bench.compare import compare
from bench.models.base import Completion, batches
from bench.models.baseline import Baseline
from bench.report import write_report
from bench.run import run
from bench.score import score
from bench.suite import Item
from tvad.common.errors import InputError
from tvad.data import Question, Sample, Video, masks
from tvad.data import load as load_samples


@pytest.fixture
def plan(scenes):
    path = str(ROOT / "configs/bench/scenes.yaml")
    found = suite.read(path, ["--data", str(scenes), "--resamples", "200"])
    return replace(found, tasks=[t for t in found.tasks if t != "heatmap"])


def test_the_oracle_is_perfect_and_guessing_is_not(plan, tmp_path):
    best = run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "oracle")
    for name in (
        "mcq.accuracy",
        "judgement.accuracy",
        "temporal.miou",
        "spatial.miou",
        "classification.accuracy",
        "mcq.well_formed",
    ):
        assert best[name].value == 1.0
    assert best["temporal.false_alarm"].value == 0.0
    for which in ("random", "prior", "longest"):
        guess = run(Baseline(which), f"baseline:{which}", plan, tmp_path / which)
        assert guess["mcq.accuracy"].value < 0.8


def test_a_run_leaves_its_files_and_compares_with_another(plan, tmp_path):
    run(Baseline("random"), "baseline:random", plan, tmp_path / "a")
    run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "b")
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert {"model", "suite", "suite_hash", "versions", "seed", "command"} <= set(record)
    lines = [json.loads(line) for line in (tmp_path / "a" / "samples.jsonl").read_text().splitlines()]
    assert {"id", "task", "prompt_hash", "response", "parsed", "defects", "scores"} <= set(lines[0])
    verdicts = {d.metric: d.verdict for d in compare(tmp_path / "a", tmp_path / "b")}
    assert verdicts["mcq.accuracy"] == "better" and verdicts["temporal.miou"] == "better"
    assert {d.verdict for d in compare(tmp_path / "b", tmp_path / "a")} & {"worse"}


def test_a_lower_false_alarm_rate_is_better(plan, tmp_path):
    plan = replace(plan, families={"alarms": ["temporal.false_alarm"]})  # six videos are too few for many
    run(Baseline("prior"), "baseline:prior", plan, tmp_path / "a")
    run(Baseline("oracle"), "baseline:oracle", plan, tmp_path / "b")
    found = {d.metric: d for d in compare(tmp_path / "a", tmp_path / "b")}["temporal.false_alarm"]
    assert found.change.value < 0 and found.verdict == "better"


class Dying(Baseline):
    """Answers `left` batches, then dies like a killed process."""

    def __init__(self, left):
        super().__init__("random")
        self.left, self.asked = left, []

    def sample(self, requests, sampling):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += [r.item.id for r in requests]
        return super().sample(requests, sampling)


def test_a_killed_run_asks_nothing_twice_and_ends_with_the_same_metrics(plan, tmp_path, monkeypatch):
    monkeypatch.setattr("bench.asking.BATCH", 8)
    run(Baseline("random"), "m", plan, tmp_path / "whole")
    first = Dying(3)
    with pytest.raises(KeyboardInterrupt):
        run(first, "m", plan, tmp_path / "part")
    with (tmp_path / "part" / "samples.jsonl").open("a") as out:
        out.write('{"id": "cut by a ki')
    second = Dying(-1)
    run(second, "m", plan, tmp_path / "part")
    assert not set(first.asked) & set(second.asked)
    assert (tmp_path / "whole" / "metrics.json").read_bytes() == (
        tmp_path / "part" / "metrics.json"
    ).read_bytes()


def test_another_model_may_not_go_on_in_the_same_folder(plan, tmp_path):
    run(Baseline("random"), "a", plan, tmp_path)
    with pytest.raises(InputError, match=r"run\.json"):
        run(Baseline("random"), "b", plan, tmp_path)


def test_different_suites_are_not_compared(plan, tmp_path):
    run(Baseline("random"), "m", plan, tmp_path / "a")
    run(Baseline("random"), "m", replace(plan, max_videos=8), tmp_path / "b")
    with pytest.raises(InputError, match="cannot be compared"):
        compare(tmp_path / "a", tmp_path / "b")


def test_hostile_answers_are_scored_as_wrong(plan, tmp_path):
    class Hostile(Baseline):
        def sample(self, requests, sampling):
            texts = [
                "",
                "<answer>" * 1000,
                "\ud800 NaN",
                "<glue>[nan, inf]</glue>",
                "<script>alert(1)</script>",
                "x" * 100_000,
            ]
            return [[Completion(texts[i % len(texts)])] for i in range(len(requests))]

    found = run(Hostile("random"), "hostile", plan, tmp_path)
    assert found["spatial.miou"].value == 0.0
    page = write_report(tmp_path).read_text(encoding="utf-8", errors="surrogatepass")
    assert "<script>alert" not in page


def test_heatmaps_are_scored_with_intervals(scenes, tmp_path, checkpoint):
    path = str(ROOT / "configs/bench/scenes.yaml")
    plan = suite.read(path, ["--data", str(scenes), "--tasks", "[heatmap]", "--resamples", "20"])
    found = run(models.load(f"hf:{checkpoint}"), "m", plan, tmp_path)
    names = ("micro_auc", "micro_ap", "macro_auc", "ano_auc", "pixel_auc", "rbdc", "tbdc")
    assert {f"heatmap.{n}" for n in names} == {name for name in found if ":" not in name}
    assert 0 <= found["heatmap.pixel_auc"].value <= 1
    assert np.load(tmp_path / "heatmaps.npz")[found and "test_00000"].ndim == 3


def test_engines_give_the_same_metrics_at_temperature_zero(scenes, tmp_path, checkpoint, engine):
    path = str(ROOT / "configs/bench/scenes.yaml")
    plan = suite.read(path, ["--data", str(scenes), "--max_videos", "4", "--decode.max_tokens", "12"])
    ours = run(engine, "m", plan, tmp_path / "vllm")
    theirs = run(models.load(f"hf:{checkpoint}"), "m", plan, tmp_path / "hf")
    for name, value in theirs.items():
        assert ours[name].value == pytest.approx(value.value, abs=1e-4), name
    responses = [
        [json.loads(line)["response"] for line in (tmp_path / k / "samples.jsonl").read_text().splitlines()]
        for k in ("vllm", "hf")
    ]
    assert responses[0] == responses[1]


def predictions(tmp_path, rows):
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def test_predictions_are_scored_and_missing_ones_count_as_wrong(plan, tmp_path):
    _, items = suite.load(plan)
    rows = [{"id": i.id, "task": i.task, "response": i.question.solution()} for i in items]
    full, rejected = score(predictions(tmp_path, rows), plan, tmp_path / "full")
    assert not rejected
    assert full["mcq.accuracy"].value == 1.0 and full["mcq.missing"].value == 0.0
    half, _ = score(predictions(tmp_path, rows[::2]), plan, tmp_path / "half")
    assert half["mcq.missing"].value > 0.2 and half["mcq.accuracy"].value < 1.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "nobody", "task": "mcq", "response": "A"}, "no question of this suite"),
        ({"id": "x", "task": "mcq"}, "missing key 'response'"),
        ([1], "expected an object"),
    ],
)
def test_bad_predictions_are_named_by_line(plan, tmp_path, row, message):
    with pytest.raises(InputError, match=f"answers.jsonl:1: .*{message}"):
        score(predictions(tmp_path, [row]), plan, tmp_path / "out")


def test_the_report_stands_alone(plan, tmp_path):
    run(Baseline("random"), "m", plan, tmp_path / "a")
    run(Baseline("oracle"), "m", plan, tmp_path / "b")
    page = write_report(tmp_path / "b", tmp_path / "a").read_text()
    assert 'src="data:video/mp4;base64,' in page and 'poster="data:image/jpeg;base64,' in page
    assert "http" not in page.replace("http-equiv", "")
    assert "better" in page and "<svg" in page


def fuzzed(items, count, seed):
    """Lines of a predictions file: good ones, and every kind of bad one, as bytes."""
    rng = random.Random(seed)
    bad = [
        b"not json",
        b"[]",
        b"3",
        b"null",
        b'{"id": "x"}',
        b'{"id": 3, "task": "mcq", "response": "A"}',
        b'{"id": "x", "task": "mcq", "response": NaN}',
        b'{"id": "x", "task": "mcq", "response": null}',
        b'{"id": "nobody", "task": "mcq", "response": "A"}',
        b"\xff\xfe\x00",
        b"[" * 50_000,
        b'{"a":' * 9000,
        b'{"id": "x", "task": "mcq", "response": ' + b"9" * 6000 + b"}",
        b'{"id": "x", "task": "mcq", "response": "' + b"A" * 4_200_000 + b'"}',
        b'{"id": ["x"], "task": {}, "response": []}',
        b'{"id": "\\ud800", "task": "mcq", "response": "A"}',
        b"\x00\x01",
        b'{"id": "x", "task": "mcq", "response": "A"',
    ]
    lines, good, used = [], 0, set()
    for _ in range(count):
        if rng.random() < 0.05:
            lines.append(rng.choice(bad[:12] if rng.random() < 0.99 else bad))
            continue
        item = rng.choice(items)
        noise = "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(60)))
        text = rng.choice([item.question.solution(), "", "A", "<think>" * rng.randrange(50), noise])
        lines.append(json.dumps({"id": item.id, "task": item.task, "response": text}).encode())
        good += item.id not in used
        used.add(item.id)
    return lines, good


def test_ten_thousand_fuzzed_lines_are_each_scored_or_rejected_by_number(plan, tmp_path):
    _, items = suite.load(plan)
    lines, good = fuzzed(items, 10_000, 0)
    path = tmp_path / "fuzz.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    metrics, rejected = score(path, plan, tmp_path / "out")
    assert len(rejected) == 10_000 - good
    numbers = [int(str(p.where).rpartition(":")[2]) for p in rejected]
    assert numbers == sorted(set(numbers)) and all(p.reason and "\n" not in p.reason for p in rejected)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (
        record["answered"] == good
        and record["rejected"] == len(rejected)
        and record["questions"] == len(items)
    )
    assert metrics["mcq.missing"].value is not None and json.loads(
        (tmp_path / "out/metrics.json").read_text()
    )


@pytest.mark.slow
def test_ten_kills_at_random_moments_end_byte_for_byte_as_none(scenes, tmp_path):
    """A real process, killed with SIGKILL; an endpoint that answers slowly, so that most kills fall into a
    batch."""
    asked, lock = [], threading.Lock()

    class Slow(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = body["messages"][-1]["content"]
            question = text if isinstance(text, str) else text[-1]["text"]
            time.sleep(0.02)
            with lock:
                asked.append(hashlib.sha256(json.dumps(body).encode()).hexdigest())
            letter = "ABCD"[len(question) % 4]
            said = f"<think>t</think><answer>{letter}</answer><glue>[0, {len(question) % 5}]</glue>"
            answer = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(answer)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"openai:m@http://127.0.0.1:{server.server_port}/v1"
    command = [
        sys.executable,
        "-m",
        "bench",
        "run",
        "--model",
        url,
        "--suite",
        "configs/bench/scenes.yaml",
        "--concurrency",
        "2",
        "--data",
        str(scenes),
        "--tasks",
        "[mcq, judgement, temporal]",
        "--resamples",
        "50",
        "--out",
    ]
    try:
        subprocess.run(
            [*command, str(tmp_path / "whole")], check=True, capture_output=True, cwd=ROOT, timeout=120
        )
        once = len(asked)
        rng, kills = random.Random(0), 0
        while kills < 10:
            process = subprocess.Popen(
                [*command, str(tmp_path / "killed")],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=ROOT,
            )
            lines = tmp_path / "killed/samples.jsonl"
            before = lines.stat().st_size if lines.exists() else 0
            deadline = time.monotonic() + 60
            while (
                process.poll() is None
                and time.monotonic() < deadline
                and not (lines.exists() and lines.stat().st_size > before)
            ):
                time.sleep(0.005)
            time.sleep(rng.random() * 0.1)
            process.kill()
            process.wait()
            kills += 1
        subprocess.run(
            [*command, str(tmp_path / "killed")], check=True, capture_output=True, cwd=ROOT, timeout=120
        )
    finally:
        server.shutdown()
    for name in ("metrics.json", "samples.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    # Asked again only what was in flight at a kill: at most two requests each, and whether the model sees
    # where that came before the record.
    assert once <= len(asked) - once <= once + 3 * kills and len(set(asked)) == once


def test_a_gate_fails_on_a_regression_only(plan, tmp_path, capsys):
    from bench.__main__ import main

    for name in ("oracle", "random"):
        run(Baseline(name), "m", plan, tmp_path / name)
    gate = tmp_path / "gate.yaml"
    gate.write_text("metrics: {mcq.accuracy: 0.02, temporal.miou: 0.0, temporal.false_alarm: 0.1}\n")
    oracle, guess = str(tmp_path / "oracle"), str(tmp_path / "random")
    assert (
        main(
            [
                "compare",
                oracle,
                guess,
                "--gate",
                str(gate),
                "--junit",
                str(tmp_path / "j.xml"),
                "--markdown",
                str(tmp_path / "m.md"),
            ]
        )
        == 1
    )
    found = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert found.get("tests") == "3" and int(found.get("failures")) >= 2
    assert "**regressed**" in (tmp_path / "m.md").read_text() and "p adjusted for" in capsys.readouterr().out
    assert (
        main(["compare", guess, oracle, "--gate", str(gate)]) == 0
        and main(["compare", oracle, oracle, "--gate", str(gate)]) == 0
    )
    gate.write_text("metrics: {mcq.accuracy: 1.0}\n")
    assert main(["compare", oracle, guess, "--gate", str(gate)]) == 0  # any drop is tolerated


@pytest.mark.parametrize(
    "text, words",
    [
        ("metrics: {}", "no metric"),
        ("metrics: {mcq.accuracy: -1}", "tolerated drop is -1"),
        ("metrics: {mcq.accuracy: x}", "expected float"),
        ("metrics: {mcq.accuracy: 0}\nconfidence: 2", "confidence is 2"),
        ("metrics: {mcq.luck: 0}", "'mcq.luck' is not in both runs"),
        ("metric: {}", "unknown key"),
    ],
)
def test_bad_gates_are_refused(plan, tmp_path, text, words):
    from bench import gate

    run(Baseline("random"), "m", plan, tmp_path / "a")
    (tmp_path / "gate.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        gate.judge(tmp_path / "a", tmp_path / "a", gate.read(tmp_path / "gate.yaml"))


def test_the_gate_is_a_fixture_of_pytest(plan, tmp_path, pytestconfig):
    for name in ("oracle", "random"):
        run(Baseline(name), "m", plan, tmp_path / name)
    (tmp_path / "gate.yaml").write_text("metrics: {mcq.accuracy: 0.02}\n")
    (tmp_path / "test_project.py").write_text(
        "def test_better(reasoning_gate):\n    reasoning_gate('random', 'oracle', 'gate.yaml')\n"
        "def test_worse(reasoning_gate):\n    reasoning_gate('oracle', 'random', 'gate.yaml')\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-c",
            "/dev/null",
            "--rootdir",
            str(tmp_path),
            "test_project.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (
        "1 failed, 1 passed" in done.stdout and "reasoning regressed from oracle to random" in done.stdout
    ), done.stdout


def test_heatmap_metrics_of_two_runs_are_paired(scenes, tmp_path, checkpoint):
    knobs = [
        "--data",
        str(scenes),
        "--tasks",
        "[heatmap, judgement]",
        "--resamples",
        "30",
        "--max_videos",
        "8",
    ]
    plan = suite.read(str(ROOT / "configs/bench/scenes.yaml"), knobs)
    for name, path in (("a", checkpoint), ("b", SHIPPED)):
        run(models.load(f"hf:{path}"), "m", plan, tmp_path / name)
    found = {d.metric: d for d in compare(tmp_path / "a", tmp_path / "b")}
    pixel = found["heatmap.pixel_auc"]
    stored = [
        json.loads((tmp_path / n / "metrics.json").read_text())["heatmap.pixel_auc"]["value"] for n in "ab"
    ]
    assert [pixel.before, pixel.after] == pytest.approx(
        stored
    ) and pixel.change.low <= pixel.change.value <= pixel.change.high
    same = {d.metric: d for d in compare(tmp_path / "b", tmp_path / "b")}["heatmap.rbdc"]
    assert same.change.value == 0 and same.verdict == "same"


def test_heatmaps_made_elsewhere_are_scored(scenes, tmp_path):
    plan = suite.read(
        str(ROOT / "configs/bench/scenes.yaml"),
        ["--data", str(scenes), "--tasks", "[heatmap, judgement]", "--resamples", "20"],
    )
    rows, scored = [], []
    for sample in load_samples(scenes):
        lit = masks.read(sample.path(sample.mask))
        np.savez_compressed(tmp_path / f"{sample.id}.npz", heatmap=lit[::2].astype(np.float16))
        rows.append({"id": sample.id, "task": "heatmap", "heatmap": f"{sample.id}.npz", "stride": 2})
        scored.append(
            {"id": sample.id, "task": "heatmap", "frame_scores": lit.any((1, 2)).astype(float).tolist()}
        )
    metrics, rejected = score(predictions(tmp_path, rows), plan, tmp_path / "maps")
    assert (
        not rejected
        and metrics["heatmap.pixel_auc"].value > 0.8
        and metrics["heatmap.rbdc"].value > 0.5
        and metrics["heatmap.missing"].value == 0.0
    )
    frames, _ = score(predictions(tmp_path, scored[:-1]), plan, tmp_path / "frames")
    assert (
        0.9 < frames["heatmap.micro_auc"].value < 0.95  # the one that is left out is wrong in every frame
        and "heatmap.rbdc" not in frames
        and frames["heatmap.missing"].value == 1 / 16
    )


@pytest.mark.parametrize(
    "change, words",
    [
        ({"heatmap": "../secret.npz"}, "leaves the predictions' folder"),
        ({"heatmap": "none.npz"}, "cannot be read"),
        ({"heatmap": 3}, "must be a file name"),
        ({"heatmap": "pickle.npz"}, "cannot be read|pickle"),
        ({"heatmap": "flat.npz"}, "is not (T, h, w)"),
        ({"heatmap": "nan.npz"}, "4 of 4 heatmap values are NaN"),
        ({"heatmap": "unplaced.npz"}, "3 maps, the video has 16 frames"),
        ({"frame_scores": [0.5]}, "1 frame_scores, the video has 16"),
        ({"frame_scores": ["a"] * 16}, "must be a list of numbers"),
        ({"frame_scores": [10**400] * 16}, "must be finite"),
        ({}, "expected either"),
        ({"id": "nobody", "frame_scores": [0] * 16}, "is no video of this suite"),
    ],
)
def test_bad_heatmap_lines_are_rejected_by_number(scenes, tmp_path, change, words):
    plan = suite.read(
        str(ROOT / "configs/bench/scenes.yaml"),
        ["--data", str(scenes), "--tasks", "[heatmap, judgement]", "--resamples", "5"],
    )
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "secret.npz", heatmap=np.zeros((2, 2, 2)))
    np.savez(tmp_path / "in/pickle.npz", heatmap=np.array([print], object))
    np.savez(tmp_path / "in/flat.npz", heatmap=np.zeros(4))
    np.savez(tmp_path / "in/nan.npz", heatmap=np.full((1, 2, 2), np.nan))
    np.savez(tmp_path / "in/unplaced.npz", heatmap=np.zeros((3, 2, 2)))
    good = {"id": "test_00001", "task": "heatmap", "frame_scores": [0.5] * 16}
    _, rejected = score(
        predictions(tmp_path / "in", [good, {"id": "test_00000", "task": "heatmap", **change}]),
        plan,
        tmp_path / "out",
    )
    assert (
        len(rejected) == 1
        and rejected[0].where.endswith(":2")
        and re.search(words.replace("(", r"\(").replace(")", r"\)"), rejected[0].reason)
    )


@pytest.mark.slow
def test_two_processes_share_a_run_and_end_as_one(scenes, tmp_path, checkpoint):
    arguments = [
        "bench",
        "run",
        "--model",
        f"hf:{checkpoint}",
        "--suite",
        "configs/bench/scenes.yaml",
        "--data",
        str(scenes),
        "--max_videos",
        "5",
        "--tasks",
        "[judgement, dialogue, heatmap]",
        "--resamples",
        "20",
        "--odds",
        "true",
        "--decode.max_tokens",
        "4",
        "--out",
    ]
    launch = [
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "-m",
    ]  # what `accelerate launch` starts on several GPUs
    for name, start in (("one", []), ("two", launch)):
        command = [sys.executable, "-m", *start, *arguments, str(tmp_path / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=240, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    assert set(one) == set(two) and "heatmap.pixel_auc" in one
    assert all(
        two[k]["value"] == pytest.approx(v["value"], abs=2e-3) and two[k]["n"] == v["n"]
        for k, v in one.items()
    )
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}
    for file in ("samples.jsonl", "odds.jsonl"):
        ids = [
            [json.loads(line)["id"] for line in (tmp_path / name / file).read_text().splitlines()]
            for name in ("one", "two")
        ]
        assert ids[0] == ids[1] and len(ids[0]) >= 5
    assert json.loads((tmp_path / "two/run.json").read_text())["processes"] == 2


def test_log_odds_of_both_engines_agree(scenes, tmp_path, checkpoint, engine):
    knobs = [
        "--data",
        str(scenes),
        "--max_videos",
        "16",
        "--tasks",
        "[judgement, mcq]",
        "--topics",
        "[event]",
        "--resamples",
        "20",
        "--odds",
        "true",
        "--decode.max_tokens",
        "4",
    ]
    plan = suite.read(str(ROOT / "configs/bench/scenes.yaml"), knobs)
    found = [
        run(model, "m", plan, tmp_path / name)
        for name, model in (("vllm", engine), ("hf", models.load(f"hf:{checkpoint}")))
    ]
    lines = [
        [json.loads(line) for line in (tmp_path / name / "odds.jsonl").read_text().splitlines()]
        for name in ("vllm", "hf")
    ]
    assert len(lines[0]) == len(lines[1]) == 32
    for a, b in zip(*lines, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=1e-3) and (a["id"], a["right"]) == (
            b["id"],
            b["right"],
        )
    for name in ("judgement.roc_auc", "judgement.average_precision", "mcq.odds_accuracy"):
        assert found[0][name].value == found[1][name].value is not None


class Counting(Baseline):
    """Draws answers, and counts what it is asked."""

    def __init__(self):
        super().__init__("random")
        self.asked = 0

    def sample(self, requests, sampling):
        self.asked += len(requests)
        return super().sample(requests, sampling)


def test_what_one_run_asked_another_does_not_ask_again(plan, tmp_path):
    def asked(name, suite, model="m", file="cache.sqlite"):
        counting = Counting()
        run(counting, model, suite, tmp_path / name, ResponseCache(tmp_path / file, model))
        return counting.asked

    few = replace(plan, max_videos=6)
    some, whole = asked("few", few), len(suite.load(plan)[1])
    assert asked("all", plan) == whole - some
    assert asked("again", plan) == 0
    assert (tmp_path / "all" / "metrics.json").read_bytes() == (
        tmp_path / "again" / "metrics.json"
    ).read_bytes()
    assert asked("warm", replace(plan, decode=suite.Decode(temperature=1.0))) == whole
    assert asked("other model", few, "other") == some
    assert asked("other frames", replace(few, max_frames=4)) == some


def test_a_checkpoint_that_is_trained_further_is_another_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"a")
    before = identity(f"hf:{tmp_path}")
    assert before == f"hf:{content(tmp_path)}"
    (tmp_path / "model.safetensors").write_bytes(b"b")
    assert identity(f"hf:{tmp_path}") != before
    assert identity("hf:org/name") == "hf:org/name"
    (tmp_path / "notes").write_text("no database")
    with pytest.raises(InputError, match="is no response cache"):
        ResponseCache(tmp_path / "notes", "m")


def test_passes_hold_what_fits():
    lengths = [*np.random.default_rng(0).integers(1, 90, 300).tolist(), 500]
    groups = batches(lengths, 256)
    assert sorted(i for group in groups for i in group) == list(range(301))
    for group in groups:
        assert len(group) == 1 or max(lengths[i] for i in group) * len(group) <= 256
    assert [300] in groups and max(map(len, groups)) > 10


def test_a_run_says_what_can_be_had_without_looking(plan, tmp_path, capsys):
    found = run(Baseline("oracle"), "baseline:oracle", plan, tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())["blind"]
    assert {"mcq", "judgement", "classification"} <= set(record)
    mcq = record["mcq"]
    assert mcq["chance"] == 0.25 and mcq["best"] == max(mcq["baselines"], key=mcq["baselines"].get)
    assert found["mcq.above_blind"].value == pytest.approx(1 - mcq["baselines"][mcq["best"]])
    prior = run(Baseline("prior"), "baseline:prior", plan, tmp_path / "prior")
    assert prior["judgement.above_blind"].value == 0.0
    assert "What can be answered without looking" in write_report(tmp_path).read_text()


def test_a_one_sided_suite_is_said_to_be_so():
    video = Video("v.mp4")
    items = [
        Item(
            f"v{n}#0",
            "mcq",
            Sample(f"v{n}", "s", "test", video, "normal"),
            Question("mcq", "What?", "A" if n < 9 else "B", ("x", "yy")),
        )
        for n in range(10)
    ]
    found, hits = blind.of_items(items)
    assert found["mcq"].baselines['always "A"'] == 0.9 and found["mcq"].flagged
    assert sum(hits.values()) == 9
    assert 'always "A" scores 0.900 without looking (chance 0.500)' in blind.warnings(blind.record(found))[0]
