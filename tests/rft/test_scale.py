"""Several processes, and rollout servers, on the CPU: gloo and loopback."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import yaml
from conftest import ROOT, SHIPPED, free_port, until_up
from grpo_runs import run_of

from bench.models.base import Request, Sampling
from rft.grpo.server import RolloutClient
from rft.grpo.train import train
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.model import TvadForConditionalGeneration
from tvad.prompts import messages

SCRIPT = str(ROOT / "tests/rft/scale_run.py")


TOKENS = 547  # two groups of a process fill a pass or not, by a token or two


def losses(command: list[str], checkpoint, scenes, out, batch: int, features) -> dict:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, SCRIPT, str(checkpoint), str(scenes), str(out), str(batch), str(features), str(TOKENS)],
        capture_output=True,
        text=True,
        timeout=500,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads((out / "losses.json").read_text())


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory):
    """(what three steps of 16 completions in one process gave, folder of its features)"""
    folder = tmp_path_factory.mktemp("alone")
    features = folder / "features"
    return losses([sys.executable], SHIPPED, scenes, folder, 16, features), features


def sharded(folder: Path) -> Path:
    """The shipped ZeRO-3, but with every weight sharded: by default DeepSpeed leaves those of fewer than
    100,000 values whole, which here are nearly all."""
    shipped = yaml.safe_load((ROOT / "configs/accelerate/zero3.yaml").read_text())
    plan = shipped["deepspeed_config"]
    zero = {"stage": plan["zero_stage"], "stage3_param_persistence_threshold": 0}
    zero |= {"stage3_gather_16bit_weights_on_model_save": plan["zero3_save_16bit_model"]}
    auto = dict.fromkeys(
        ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"), "auto"
    )
    own = folder / "zero3.json"
    own.write_text(
        json.dumps(auto | {"zero_optimization": zero, "gradient_clipping": plan["gradient_clipping"]})
    )
    settings = {k: v for k, v in shipped.items() if k != "mixed_precision"}
    settings["deepspeed_config"] = {"deepspeed_config_file": str(own), "zero3_init_flag": False}
    (folder / "zero3.yaml").write_text(yaml.safe_dump(settings))
    return folder / "zero3.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "zero2", "zero3"])
def test_two_processes_train_as_one(how, alone, scenes, tmp_path):
    """Though one needs more passes than the other, and one lacks the features of a clip."""
    alone, known = alone
    features = shutil.copytree(known, tmp_path / "features")
    sorted(features.rglob("*.safetensors"))[0].unlink()
    if how != "ddp" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    if how != "ddp":
        launch = [
            sys.executable,
            "-m",
            "accelerate.commands.launch",
            "--config_file",
            str(sharded(tmp_path) if how == "zero3" else ROOT / f"configs/accelerate/{how}.yaml"),
            "--num_processes",
            "2",
            "--mixed_precision",
            "no",
        ]
    found = losses(launch, SHIPPED, scenes, tmp_path, 8, features)
    one, other = found["passes"]
    assert any(a[0] != b[0] for a, b in zip(one, other, strict=True)), "processes need the same: no test"
    assert [a[1] for a in one] == [b[1] for b in other]
    assert found["misses"][0] != found["misses"][1], "processes lack the same: no test"
    assert found["processes"] == 2 and alone["processes"] == 1
    assert found["synced"] == 4, "for every step's rollout, and for the evaluation behind the last"
    for one, two in zip(alone["rows"], found["rows"], strict=True):
        assert two["reward"] == pytest.approx(one["reward"], abs=1e-6)
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
        assert two["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-3)
        assert two["sampler_gap/max"] == pytest.approx(one["sampler_gap/max"], rel=1e-3)
    assert any(row["loss"] for row in alone["rows"])
    measured = [
        json.loads((folder / "evaluations/step-3/metrics.json").read_text())
        for folder in (known.parent, tmp_path)
    ]
    assert measured[0] == measured[1] and measured[0]["mcq.accuracy"]["n"] > 1
    trained = TvadForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert not torch.equal(
        trained.lm_head.weight, TvadForConditionalGeneration.from_pretrained(SHIPPED).lm_head.weight
    )


def started(port: int, log, token: str | None = None) -> subprocess.Popen:
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"} | ({"ROLLOUT_TOKEN": token} if token else {})
    command = [
        sys.executable,
        "-m",
        "rft.grpo.server",
        "--model",
        str(SHIPPED),
        "--port",
        str(port),
        "--max-num-seqs",
        "16",
    ]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    until_up(process, f"http://127.0.0.1:{port}/health", log)
    return process


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory):
    """(process, URL) of a rollout server that asks for a token."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    port = free_port()
    process = started(port, tmp_path_factory.mktemp("rollouts") / "server.txt", "secret")
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(60)


@pytest.mark.slow
def test_a_server_trains_as_an_engine_in_the_process_and_its_death_is_named(
    rollouts, scenes, tmp_path, monkeypatch
):
    process, url = rollouts
    with pytest.raises(InputError, match="401"):
        RolloutClient(url)
    monkeypatch.setenv("ROLLOUT_TOKEN", "secret")
    client = RolloutClient(
        f"{url},{url}"
    )  # the same one twice: requests are shared out and come back in order
    store, samples = ClipStore(2.0, 8), load(scenes)[:3]
    requests = [Request(messages("What happens?"), store.frames(sample)) for sample in samples]
    greedy = client.sample(requests, Sampling(1, 0.0, max_tokens=12))
    assert [len(group) for group in client.sample(requests, Sampling(2, 1.0, max_tokens=12))] == [
        2,
        2,
        2,
    ] and len(client.prompt_ids) == 3
    assert [client.sample([request], Sampling(1, 0.0, max_tokens=12))[0][0].text for request in requests] == [
        group[0].text for group in greedy
    ]
    maps = client.heatmaps([r.frames for r in requests])
    assert all(m.ndim == 3 and m.min() >= 0 and m.max() <= 1 for m in maps)
    for body in (b"", b"\x08" * 20, b"\xff" * 8 + b"{}"):
        answer = httpx.post(f"{url}/sample", content=body, headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 400, answer.text

    run = replace(
        run_of(scenes, SHIPPED, tmp_path, learning_rate=1e-3, max_completion_length=24),
        engine=f"server:{url}",
        tasks={"spatial": 1, "mcq": 1},
        rewards={"format": 0.5, "answer": 1.0, "evidence": 0.5},
    )
    train(run)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    # The second step's rollouts come from weights that the first step changed: both sides have them.
    assert [row["step"] for row in rows] == [1, 2] and all(row["sampler_gap/max"] < 1e-3 for row in rows)

    process.kill()
    process.wait(60)
    longer = replace(run, training=run.training | {"max_steps": 3})
    with pytest.raises(InputError, match=r"rollout server .* does not answer .*repeat the training command"):
        train(longer, resume_with="new")
    assert np.isfinite(
        json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())["global_step"]
    )
    process = started(int(url.rpartition(":")[2]), tmp_path / "again.txt", "secret")
    try:
        assert train(longer, resume_with="new").state.global_step == 3
    finally:
        process.kill()
        process.wait(60)
