"""What an engine is, and the one table of them: nothing else keeps a list of backends in step by hand."""

import sys

import pytest
import torch
from conftest import ROOT, SHIPPED

from bench import models
from bench.__main__ import main
from bench.cache import identity
from bench.models import base
from bench.models.baseline import Baseline
from bench.models.hf import HfModel
from bench.models.openai import OpenAiModel
from tvad.common.errors import InputError

ABILITIES = (
    base.Streams,
    base.GivesOdds,
    base.HoldsModel,
    base.Sleeps,
    base.KeepsPrompts,
    base.Shared,
)


def abilities(engine):
    return {ability.__name__ for ability in ABILITIES if isinstance(engine, ability)}


class Tiny(torch.nn.Linear):
    """What HfModel asks of a model when it is made."""

    def __init__(self):
        super().__init__(1, 1)


@pytest.mark.parametrize("kind", models.KINDS)
def test_a_kind_stands_wherever_kinds_are_named(kind, tmp_path, capsys):
    entry = models.KINDS[kind]
    # The answers' cache: a checkpoint by its content, anything else by its address.
    (tmp_path / "model.safetensors").write_bytes(b"a")
    before = identity(f"{kind}:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"b")
    assert (identity(f"{kind}:{tmp_path}") != before) == entry.checkpoint
    # The documents and the command.
    assert f"`{kind}:" in (ROOT / "docs/benchmark.md").read_text(encoding="utf-8")
    main(["list", "models"])
    assert any(line.startswith(f"{kind}:") for line in capsys.readouterr().out.splitlines())
    # An engine of a checkpoint can be trained with.
    source = (ROOT / "bench/models" / f"{kind}.py").read_text(encoding="utf-8")
    assert ("def sync(" in source) == entry.checkpoint and f'name = "{kind}"' in source


def test_what_engines_can_do():
    assert abilities(Baseline("random")) == set()
    assert abilities(OpenAiModel("m@http://127.0.0.1:9")) == {"Streams"}
    assert abilities(HfModel(Tiny(), None)) == {"GivesOdds", "HoldsModel"}


def test_what_vllm_can_do(engine):
    assert abilities(engine) == {"GivesOdds", "Sleeps", "KeepsPrompts"}


@pytest.mark.parametrize("spec", ["hf", "hf:", "auto:x", "transformers:x", "server:http://x", "torch:x"])
def test_a_benchmark_names_its_engine_outright(spec):
    with pytest.raises(InputError, match="one of hf, vllm, openai, baseline"):
        models.load(spec)


def test_options_are_refused_by_name():
    with pytest.raises(InputError, match="openai: unknown option 'budget'; known: concurrency, video"):
        models.load("openai:m@http://127.0.0.1:9", budget=3)
    with pytest.raises(InputError, match="hf: unknown option 'dtype'; known: budget"):
        models.open_engine("hf", "x", Tiny(), None, dtype="float32")


def test_rollouts_open_engines_by_the_same_words(monkeypatch, capsys):
    model = Tiny()
    for kind in ("hf", "transformers"):
        found = models.open_engine(kind, "unused", model, None, 8, 256, 1, budget=7)
        assert found.model is model and found.name == "hf" and found.budget == 7
    assert not capsys.readouterr().err
    with pytest.raises(InputError, match="engine: 'openai' is none of auto, hf, vllm"):
        models.open_engine("openai", "m@http://127.0.0.1:9", model)
    real = models.importlib.util.find_spec
    monkeypatch.setattr(
        models.importlib.util, "find_spec", lambda name: None if name == "vllm" else real(name)
    )
    assert models.open_engine("auto", "unused", model).name == "hf"
    assert "WARNING: vLLM is not installed" in capsys.readouterr().err


def test_vllms_defaults_are_those_of_rollouts(monkeypatch):
    """`sequences`, `length` and `seed` reach vLLM, an option of the same meaning wins."""
    seen = {}

    class Fake:
        name = "vllm"

        def __init__(self, path, max_model_len=0, max_num_seqs=0, seed=0, dtype=None):
            seen.update(path=path, length=max_model_len, sequences=max_num_seqs, seed=seed, dtype=dtype)

    monkeypatch.setitem(sys.modules, "bench.models.vllm", type(sys)("bench.models.vllm"))
    sys.modules["bench.models.vllm"].VllmModel = Fake
    models.open_engine("vllm", "p", None, None, 8, 256, 3, dtype="float32", max_num_seqs=4)
    assert seen == {"path": "p", "length": 256, "sequences": 4, "seed": 3, "dtype": "float32"}


@pytest.mark.parametrize("training", [True, False])
def test_a_model_goes_on_training_after_a_rollout_that_failed(training, monkeypatch):
    found = models.load(f"hf:{SHIPPED}")
    found.model.train(training)
    monkeypatch.setattr(found, "_sample", lambda *given: 1 / 0)
    monkeypatch.setattr(found, "_length", lambda request: 1)
    with pytest.raises(ZeroDivisionError):
        found.sample([base.Request([], None)], base.Sampling())
    assert found.model.training is training
