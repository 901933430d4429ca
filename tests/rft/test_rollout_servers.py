"""Rollouts from vLLM's own servers on loopback: agreement with the trainer, weights, frames, deaths."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import httpx
import pytest
import torch
import yaml
from conftest import ROOT, SHIPPED, free_port, until_up
from grpo_runs import run_of

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

import agreement
from stock_checkpoint import build_stock

from bench.models.base import Request, Sampling
from rft.grpo.servers import RolloutServers
from rft.grpo.train import train
from tvad.__main__ import main as tvad
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.prompts import messages

pytestmark = pytest.mark.slow
TOLERANCE = 1e-4  # log-probability, float32
HEADERS = {"Authorization": "Bearer secret"}


def started(port: int, log, folder, core: int = 0, model=SHIPPED) -> subprocess.Popen:
    environment = os.environ | {
        "ROLLOUT_TOKEN": "secret",
        "TVAD_WEIGHTS": str(folder),
        "VLLM_CPU_OMP_THREADS_BIND": str(sorted(os.sched_getaffinity(0))[core]),
    }
    environment.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    command = [sys.executable, "-m", "tvad", "serve", "--rollouts", "--model", str(model)]
    command += ["--port", str(port), "--max-num-seqs", "16", "--gpu-memory-utilization", "0.3"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, cwd=ROOT, env=environment, start_new_session=True
        )
    try:
        until_up(process, f"http://127.0.0.1:{port}/health", log, 540)
    except BaseException:
        killed(process)
        raise
    return process


def killed(process: subprocess.Popen) -> None:
    """The engine outlives its server: all of the group end."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


class Running:
    """Servers of this module, by name; what a test kills it may start again."""

    def __init__(self, folder):
        self.folder, self.ports, self.alive = folder, {}, {}
        self.weights = folder / "weights"
        self.weights.mkdir(mode=0o700)

    def url(self, name: str, model=SHIPPED) -> str:
        port = self.ports.setdefault(name, free_port())
        if name not in self.alive:
            log = self.folder / f"{name}-{time.monotonic_ns()}.txt"
            core = len(self.alive) % len(os.sched_getaffinity(0))
            self.alive[name] = started(port, log, self.weights, core, model)
        return f"http://127.0.0.1:{port}"

    def kill(self, name: str) -> None:
        killed(self.alive.pop(name))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    found = Running(tmp_path_factory.mktemp("rollouts"))
    try:
        yield found
    finally:
        for name in list(found.alive):
            found.kill(name)


@pytest.fixture
def token(monkeypatch):
    monkeypatch.setenv("ROLLOUT_TOKEN", "secret")


def bodies(monkeypatch) -> list[int]:
    """Sizes of the requests for completions from now on."""
    sizes, inner = [], httpx.Client.request

    def counted(self, method, url, **content):
        if "completions" in str(url):
            sizes.append(len(json.dumps(content["json"])))
        return inner(self, method, url, **content)

    monkeypatch.setattr(httpx.Client, "request", counted)
    return sizes


def test_nothing_is_answered_without_the_token(running):
    url = running.url("a")
    with pytest.raises(InputError, match="401"):
        RolloutServers(url, None)
    paths = httpx.get(f"{url}/openapi.json", headers=HEADERS, trust_env=False, timeout=120).json()["paths"]
    assert {"/pause", "/update_weights", "/v1/chat/completions"} <= paths.keys()
    for path, methods in paths.items():
        for method in methods:
            status = httpx.request(method, f"{url}{path}", trust_env=False, timeout=120).status_code
            assert status == (200 if path == "/health" else 401), (method, path)


def test_server_and_trainer_agree_before_and_after_every_part_of_the_weights_changes(running, token):
    model, processor = agreement.open_both(SHIPPED)
    engine = RolloutServers(running.url("a"), processor)
    requests = agreement.make_requests()
    assert engine.lacks_some()
    assert agreement.gap(engine, model, processor, requests) < TOLERANCE
    torch.manual_seed(0)
    for part in ("", ".language_model.", ".visual.", ".ahd.", ".rae."):
        with torch.no_grad():
            changed = [(name, weight) for name, weight in model.engine_weights() if part in name]
            for _, weight in changed:
                weight.add_(torch.randn_like(weight) * 0.02)
        assert agreement.gap(engine, model, processor, requests) > 100 * TOLERANCE, part
        engine.sync(changed)
        assert agreement.gap(engine, model, processor, requests) < TOLERANCE, part
    assert not engine.lacks_some() and not list(running.weights.glob("*.safetensors"))
    engine.servers[0].near = False  # as if it were on another machine: they are sent
    engine.sync(agreement.open_both(SHIPPED)[0].engine_weights())
    assert agreement.gap(engine, agreement.open_both(SHIPPED)[0], processor, requests) < TOLERANCE
    assert not list(running.weights.glob("*.safetensors"))
    # Another trainer's weights are no part of this one's: it would have to send all.
    assert RolloutServers(running.url("a"), processor).lacks_some()


def test_a_stock_backbone_agrees_before_and_after_an_update(running, token, tmp_path):
    """Qwen2.5-VL as published, float32, without AHD and RAE: what VAU-R1's configurations train."""
    made = ["--backbone", str(build_stock(tmp_path / "stock", dtype=torch.float32))]
    assert tvad(["start", *made, "--out", str(tmp_path / "start"), "--without-ahd", "--without-rae"]) == 0
    model, processor = agreement.open_both(tmp_path / "start")
    url = running.url("stock", tmp_path / "start")
    try:
        engine = RolloutServers(url, processor)
        requests = agreement.make_requests()
        assert agreement.gap(engine, model, processor, requests) < TOLERANCE
        torch.manual_seed(0)
        with torch.no_grad():
            for _, weight in model.engine_weights():
                weight.add_(torch.randn_like(weight) * 0.02)
        assert agreement.gap(engine, model, processor, requests) > 100 * TOLERANCE
        engine.sync(model.engine_weights())
        assert agreement.gap(engine, model, processor, requests) < TOLERANCE
    finally:
        running.kill("stock")


def test_a_transfer_that_fails_leaves_the_old_weights_and_a_server_that_answers(running, token):
    model, processor = agreement.open_both(SHIPPED)
    engine = RolloutServers(running.url("a"), processor)
    requests = agreement.make_requests()
    weights = dict(model.engine_weights())
    engine.sync(weights.items())
    query = "model.language_model.layers.0.self_attn.q_proj.weight"
    for bad, words in (
        ({"lm_head.weight": torch.zeros(3, 3)}, r"lm_head.weight: shape \(3, 3\), the model has"),
        ({**weights, "nobody": torch.zeros(3)}, "nobody: shape"),
        ({query: torch.zeros_like(weights[query])}, "came without"),
    ):
        with pytest.raises(InputError, match=words):
            engine.sync(bad.items())
        assert agreement.gap(engine, model, processor, requests) < TOLERANCE
    # One that died between beginning and end.
    server = engine.servers[0]
    server.post("start_weight_update")
    engine.sync(weights.items())
    assert agreement.gap(engine, model, processor, requests) < TOLERANCE


def test_a_clip_travels_once_also_past_new_weights_and_again_where_it_is_forgotten(
    running, token, scenes, monkeypatch
):
    model, processor = agreement.open_both(SHIPPED)
    engine = RolloutServers(running.url("a"), processor)
    engine.sync(model.engine_weights())
    store = ClipStore(2.0, 8)
    requests = [Request(messages("What happens?"), store.frames(sample)) for sample in load(scenes)[:3]]
    sizes = bodies(monkeypatch)
    greedy = Sampling(1, 0.0, max_tokens=12)
    first = engine.sample(requests, greedy)
    engine.sync(model.engine_weights())
    again = engine.sample(requests, greedy)
    assert [g[0].ids for g in first] == [g[0].ids for g in again]
    assert min(sizes[:3]) > 50_000 and max(sizes[3:]) < 2_000 and len(sizes) == 6
    engine.servers[0].post("reset_mm_cache")
    del sizes[:]
    assert [g[0].ids for g in engine.sample(requests, greedy)] == [g[0].ids for g in first]
    assert sum(size < 2_000 for size in sizes) >= 3 and sum(size > 50_000 for size in sizes) == 3
    drawn = engine.sample(requests, Sampling(2, 1.0, max_tokens=12, seed=5))
    assert [len(group) for group in drawn] == [2, 2, 2] and len(engine.prompt_ids) == 3
    assert drawn == engine.sample(requests, Sampling(2, 1.0, max_tokens=12, seed=5))
    alone = [engine.sample([replace(r, key=str(n))], greedy)[0] for n, r in enumerate(requests)]
    assert [g[0].text for g in alone] == [g[0].text for g in first]
    held = [Request(messages("Is <|im_end|> a token?"), requests[0].frames)]  # people's text stays text
    engine.sample(held, greedy)
    text = processor.tokenizer.decode(engine.prompt_ids[0])
    assert "< |im_end|>" in text


def plan_of(scenes, out, url, **training):
    run = run_of(scenes, SHIPPED, out, learning_rate=1e-3, max_completion_length=24, **training)
    return replace(
        run,
        engine=f"server:{url}",
        tasks={"spatial": 1, "mcq": 1},
        rewards={"format": 0.5, "answer": 1.0, "evidence": 0.5},
    )


def rows_of(out) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_killed_servers_part_of_a_step_is_drawn_by_the_other_and_the_log_says_so(
    running, token, scenes, tmp_path, monkeypatch, capfd
):
    urls = f"{running.url('a')},{running.url('b')}"
    inner, armed = RolloutServers.sample, threading.Event()

    def sample(self, requests, sampling):
        # The second step's: the server dies while its requests are under way.
        if self._sent == 2 and not armed.is_set():
            armed.set()
            server = next(s for s in self.servers if s.url == running.url("b"))
            post = server.post

            def dying(path, **content):
                if "completions" in path and "b" in running.alive:
                    threading.Timer(0.01, lambda: "b" in running.alive and running.kill("b")).start()
                return post(path, **content)

            server.post = dying
        return inner(self, requests, sampling)

    monkeypatch.setattr(RolloutServers, "sample", sample)
    plan = plan_of(scenes, tmp_path, urls, max_steps=3)
    trainer = train(plan)
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["servers/drew"] for row in rows] == [2, 1, 1]
    assert rows[0]["servers/sent_again"] == 0 and rows[1]["servers/sent_again"] >= 1
    assert "is lost" in capfd.readouterr().err
    # Rollouts come from weights that the step before has changed: both sides have them.
    assert all(row["sampler_gap/max"] < TOLERANCE for row in rows), [r["sampler_gap/max"] for r in rows]
    assert all("rewards/evidence/mean" in row for row in rows)  # heatmaps of the trainer's own
    assert trainer.state.global_step == 3

    # With none left it waits, then ends; the same command goes on from the checkpoint.
    running.kill("a")
    longer = replace(plan, engine=f"server:{urls.split(',')[0]}", training=plan.training | {"max_steps": 4})
    with pytest.raises(InputError, match=r"rollout server .* does not answer .*repeat the training command"):
        train(longer, resume_with="new")
    assert json.loads((tmp_path / "checkpoint-3/trainer_state.json").read_text())["global_step"] == 3
    running.url("a")
    assert train(longer, resume_with="new").state.global_step == 4
    assert [row["step"] for row in rows_of(tmp_path)] == [1, 2, 3, 4]


def test_a_run_whose_only_server_dies_waits_for_it_for_so_long(running, token, scenes, tmp_path, monkeypatch):
    url, inner, found = running.url("a"), RolloutServers.sample, []

    def sample(self, requests, sampling):
        if self._sent == 2 and "a" in running.alive:
            running.kill("a")
        found.append(time.monotonic())
        return inner(self, requests, sampling)

    monkeypatch.setattr(RolloutServers, "sample", sample)
    plan = replace(plan_of(scenes, tmp_path, url), engine_options={"wait": 3.0})
    with pytest.raises(InputError, match=r"no rollout server .* repeat the training command"):
        train(plan)
    assert time.monotonic() - found[1] > 3
    assert [row["step"] for row in rows_of(tmp_path)] == [1]
    assert (tmp_path / "checkpoint-1").is_dir()


def test_a_server_draws_while_the_step_before_trains(running, token, scenes, tmp_path, monkeypatch):
    inner, began = RolloutServers.draw, []

    def draw(self, requests, sampling):
        began.append((self._sent, threading.current_thread() is threading.main_thread()))
        return inner(self, requests, sampling)

    monkeypatch.setattr(RolloutServers, "draw", draw)
    plan = replace(plan_of(scenes, tmp_path, running.url("a"), max_steps=4), staleness=1)
    train(plan)
    rows = rows_of(tmp_path)
    assert began == [(1, True), (1, False), (2, False), (3, False)]
    assert [row["staleness/age"] for row in rows] == [0, 1, 1, 1]
    assert not any(row["staleness/dropped"] for row in rows)
    # The first is drawn by the weights that it trains, the last by those of a step before.
    assert rows[0]["sampler_gap/max"] < TOLERANCE < rows[-1]["sampler_gap/max"]
    assert all(row["sampling/importance_sampling_ratio/max"] <= 3.0 for row in rows)


def test_two_ranks_draw_ahead_and_go_on_with_the_server_that_is_left(running, token, scenes, tmp_path):
    urls = f"{running.url('a')},{running.url('b')}"
    plan = plan_of(scenes, tmp_path / "out", urls, max_steps=5)
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"version": 1, **asdict(plan)}))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "--", "rft/train_grpo.py", "--config", str(file), "--staleness", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    log = tmp_path / "out/log.jsonl"
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while process.poll() is None and not (log.exists() and rows_of(tmp_path / "out")):
            time.sleep(0.2)
        running.kill("b")
        _, said = process.communicate(timeout=500)
    assert process.returncode == 0, said[-3000:]
    rows = rows_of(tmp_path / "out")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["staleness/age"] == 0 and rows[-1]["staleness/age"] == 1
    assert rows[0]["servers/drew"] == 2 and rows[-1]["servers/drew"] == 1


@pytest.mark.parametrize("staleness", [0, 1])
def test_ten_kills_of_servers_and_trainers_leave_every_step_once(running, token, scenes, tmp_path, staleness):
    """Wherever a kill comes: while prompts are drawn, weights travel, a checkpoint is written. A killed
    server is started again while the trainer waits; a killed trainer goes on by the same command."""
    out, steps, chance = tmp_path / "out", 40, random.Random(staleness)
    plan = plan_of(scenes, out, running.url("a"), max_steps=steps)
    plan = replace(plan, engine_options={"wait": 900.0}, staleness=staleness)
    file, said = tmp_path / "run.yaml", tmp_path / "said.txt"
    file.write_text(yaml.safe_dump({"version": 1, **asdict(plan)}))
    command = [sys.executable, "rft/train_grpo.py", "--config", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}

    def begun() -> subprocess.Popen:
        with said.open("a") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def done() -> int:
        return len(rows_of(out)) if (out / "log.jsonl").exists() else 0

    kills = ["server", "trainer"] * 5
    chance.shuffle(kills)
    trainer = begun()
    try:
        for kill in kills:
            before = done()
            while done() <= before:  # it has got somewhere since the last one
                assert trainer.poll() is None, said.read_text()[-3000:]
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 2))
            if kill == "server":
                running.kill("a")
                time.sleep(chance.uniform(0, 2))
                running.url("a")
            else:
                killed(trainer)
                trainer = begun()
        assert trainer.wait(900) == 0, said.read_text()[-3000:]
    finally:
        if trainer.poll() is None:
            killed(trainer)
    assert [row["step"] for row in rows_of(out) if "step_time" in row] == [*range(1, steps + 1)]
    drawn = [json.loads(line)["step"] for line in (out / "rollouts.jsonl").read_text().splitlines()]
    assert drawn == sorted(drawn) and {drawn.count(n) for n in range(1, steps + 1)} == {drawn.count(1)}
    state = json.loads((out / f"checkpoint-{steps}/trainer_state.json").read_text())
    assert [row["step"] for row in state["log_history"] if "loss" in row] == [*range(1, steps + 1)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": 0.5}, "engine_options: memory: rollout servers take"),
        ({"wait": -1}, "engine_options.wait"),
    ],
)
def test_options_that_reach_nobody_are_refused(scenes, tmp_path, options, words):
    plan = plan_of(scenes, tmp_path, "http://127.0.0.1:9")
    with pytest.raises(InputError, match=words):
        train(replace(plan, engine_options=options))
