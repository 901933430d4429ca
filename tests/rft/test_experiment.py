"""The comparison of reinforcement with supervised fine-tuning, from its data to its table, with a few clips
and steps."""

import json

import pytest
import yaml
from conftest import ROOT, SHIPPED

from rft.studies.experiment import main


@pytest.mark.slow
def test_an_experiment_ends_in_its_table(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    plan = yaml.safe_load((ROOT / "configs/grpo/tiny.yaml").read_text())
    plan |= {"model": str(SHIPPED), "engine": "transformers"}
    plan["training"] |= {
        "max_steps": 2,
        "per_device_train_batch_size": 16,
        "gradient_accumulation_steps": 1,
        "save_steps": 1,
    }
    (tmp_path / "grpo.yaml").write_text(json.dumps(plan))
    arms = {
        "sft": {"method": "sft"},
        "grpo": {},
        "without-box": {"against": "grpo", "overrides": {"rewards": {"format": 0.5, "answer": 1.0}}},
    }
    experiment = {
        "out": str(tmp_path / "out"),
        "grpo": str(tmp_path / "grpo.yaml"),
        "seeds": [0, 1],
        "sft_rates": [1e-4, 2e-4],
        "train_clips": 12,
        "test_clips": 12,
        "arms": arms,
    }
    (tmp_path / "experiment.yaml").write_text(json.dumps(experiment))
    assert main(["--config", str(tmp_path / "experiment.yaml")]) == 0
    table = (tmp_path / "out/experiment.md").read_text()
    for part in (
        "### closed set, greedy",
        "### open set, sampled",
        "| start | grpo | temporal mIoU |",
        "| sft | grpo | box IoU |",
        "| without-box | grpo |",
    ):
        assert part in table
    assert len(list((tmp_path / "out").glob("*-[01]/seconds.json"))) == 6
    rates = json.loads((tmp_path / "out/sft-rates/rates.json").read_text())
    assert set(rates["scores"]) == {"0.0001", "0.0002"} and rates["chosen"] in (1e-4, 2e-4)
    before = {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*-[01]/model/model.safetensors")
    }
    assert main(["--config", str(tmp_path / "experiment.yaml")]) == 0, "again: nothing is left to do"
    assert before == {path: path.stat().st_mtime_ns for path in before} and len(before) == 6
