"""The whole way of the documents at the true widths of Qwen2.5-VL-7B (two decoder layers, four of the tower),
from a checkpoint in the published layout and by the shipped files: stages 1, 2 A and 2 B, merged, GRPO, the
benchmark by both engines. What is changed of the files is listed here; the peak of memory is printed."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from stock_checkpoint import SMALL, WIDE, build_stock

LIMIT = 20 * 2**30  # bytes of one process
# Paths and steps, as somebody without the data and the weeks would have them.
STEPS = {"optimiser": {"epochs": None, "steps": 1}, "selection": {"save_steps": 1}}
DATA = {"validation_clips": 4}
LAYERS = 2  # of LoRA: there are no more
# Of configs/grpo/tvad-7b.yaml: paths, steps, lengths; and what one machine without a second one forces.
GRPO = {
    "engine": "hf",  # no rollout server
    "evaluate": None,  # its suite is VAU-Bench's
    "loggers": [],
    "max_frames": 8,
    "lora": {"layers": LAYERS, "r": 64, "alpha": 128, "dropout": 0.0},
}
TRAINING = {
    "max_steps": 2,
    "save_steps": 2,
    "max_completion_length": 8,
    "warmup_steps": 1,
}


def command(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"},
    )
    assert done.returncode == 0, f"{words}: {done.stdout[-1000:]} {done.stderr[-3000:]}"
    return done.stdout


def written(path: Path, spec: dict) -> str:
    path.write_text(yaml.safe_dump(spec))
    return str(path)


def stage_file(scenes, out: Path, start: Path) -> dict:
    spec = yaml.safe_load((ROOT / "configs/stage/tvad-7b-ubnormal.yaml").read_text())
    spec |= {"start": str(start), "out": str(out)}
    for stage in spec["stages"]:
        stage["data"] |= {"train": str(scenes), "validation": str(scenes), **DATA}
        for group, values in STEPS.items():
            stage[group] |= values
        if stage.get("lora"):
            stage["lora"]["layers"] = LAYERS
    return spec


def grpo_file(scenes, out: Path, model: Path) -> dict:
    spec = yaml.safe_load((ROOT / "configs/grpo/tvad-7b.yaml").read_text())
    spec |= {"model": str(model), "data": str(scenes), "out": str(out), **GRPO}
    spec["features"]["folder"] = str(out) + "-features"
    spec["training"] |= TRAINING
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [SMALL, WIDE], ids=["small", "7b"])
def test_the_shipped_recipes_run_from_a_stock_checkpoint_to_the_benchmark(sizes, scenes, tmp_path):
    stock = build_stock(tmp_path / "stock", sizes)
    command("tvad", "start", "--backbone", str(stock), "--out", str(tmp_path / "start"))
    plan = written(tmp_path / "stages.yaml", stage_file(scenes, tmp_path / "stages", tmp_path / "start"))
    command("rft.train_stage", "--config", plan)
    for number, name in enumerate(("ahd", "rae-a", "rae-b")):
        record = json.loads((tmp_path / f"stages/{number}-{name}/model/stage.json").read_text())
        assert record["best"] is not None
    trained = tmp_path / "stages/model"
    plan = written(tmp_path / "grpo.yaml", grpo_file(scenes, tmp_path / "grpo", trained))
    command("rft.train_grpo", "--config", plan)
    rows = [json.loads(line) for line in (tmp_path / "grpo/log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "reward" in row] == [1, 2]
    for engine in ("hf", "vllm"):
        told = ["--model", f"{engine}:{tmp_path / 'grpo/model'}", "--suite", "scenes", "--data", str(scenes)]
        told += ["--max_videos", "2", "--decode.max_tokens", "8", "--out", str(tmp_path / engine)]
        command("bench", "run", *told)
        metrics = json.loads((tmp_path / engine / "metrics.json").read_text())
        assert any(name.startswith("heatmap.") for name in metrics)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(f"peak of one process: {peak / 2**30:.2f} GiB")
    assert peak < LIMIT
