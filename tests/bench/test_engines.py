"""What an engine is, and the one table of them: nothing else keeps a list of backends in step by hand."""

import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, SHIPPED

from bench import models
from bench.__main__ import main
from bench.cache import identity
from bench.models import base
from bench.models.baseline import Baseline
from bench.models.hf import Draws, HfModel
from bench.models.openai import OpenAiModel
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.prompts import asked

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


def drawn_by(model, requests, sampling):
    found = model.sample(requests, sampling)
    return {request.key: [c.ids for c in each] for request, each in zip(requests, found, strict=True)}


def test_answers_are_the_requests_own_in_any_company_and_order(scenes, checkpoint):
    model, store = HfModel.open(str(checkpoint)), ClipStore(2.0, 8)
    requests = [
        base.Request(asked(q), store.frames(s), key=f"{s.id}#{n}")
        for s in load(scenes)[:3]
        for n, q in enumerate(s.questions[:2])
    ]
    sampling = base.Sampling(3, 1.3, 0.9, 6, 5)
    state = torch.random.get_rng_state()
    every = drawn_by(model, requests, sampling)
    assert torch.equal(state, torch.random.get_rng_state()), "a training's generator is left as it was"
    assert drawn_by(model, requests[::-2], sampling) == {r.key: every[r.key] for r in requests[::-2]}
    assert drawn_by(HfModel(model.model, model.processor, 1), requests, sampling) == every
    for attempts in every.values():
        assert len({tuple(ids) for ids in attempts}) > 1
    other = base.Sampling(3, 1.3, 0.9, 6, 6)
    assert drawn_by(model, requests, other) != every
    twice = [base.Request(requests[0].messages, requests[0].frames) for _ in range(2)]
    one, two = model.sample(twice, sampling)
    assert [c.ids for c in one] != [c.ids for c in two], "without keys the place decides"
    greedy = model.sample(requests[:1], base.Sampling(2, 0.0, max_tokens=6))[0]
    assert greedy[0].ids == greedy[1].ids


def test_draws_follow_the_distribution():
    """20,000 rows of one distribution: shares within four standard errors; with top-p only its tokens."""
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    logits = shares.log().repeat(20_000, 1)
    for top_p, temperature, expected in (
        (1.0, 1.0, shares),
        (1.0, 2.0, shares.sqrt() / shares.sqrt().sum()),
        (0.79, 1.0, torch.tensor([0.625, 0.375, 0.0, 0.0])),
    ):
        draws = Draws([[7, n] for n in range(20_000)], 2, temperature, top_p, "cpu")
        for _ in range(2):
            found = draws(torch.zeros(20_000, 1, dtype=torch.long), logits)
            chosen = found.isfinite()
            assert bool((chosen.sum(1) == 1).all())
            error = (chosen.double().mean(0) - expected).abs()
            assert bool((error <= 4 * (expected * (1 - expected) / 20_000).sqrt() + 1e-9).all())


def test_a_token_that_is_never_emitted_is_never_drawn():
    logits = torch.full((4000, 5), -1e4)
    logits[:, 2] = 0.0
    draws = Draws([[n] for n in range(4000)], 1, 1.0, 1.0, "cpu")
    assert bool((draws(torch.zeros(4000, 1, dtype=torch.long), logits).argmax(1) == 2).all())


def test_a_seed_is_made_of_the_seed_and_the_key():
    requests = [base.Request([], None, key=key) for key in ("a#0", "a#1", "b#0", "\ud83d")]
    seeds = base.seeds_of(requests, 0)
    assert len(set(seeds)) == 4 and all(0 <= seed < 2**31 for seed in seeds)
    assert base.seeds_of(requests[::-1], 0) == seeds[::-1] and not set(seeds) & set(
        base.seeds_of(requests, 1)
    )


@pytest.mark.parametrize("which", ["random", "prior"])
def test_a_baseline_answers_alike_in_any_company(scenes, which):
    from bench.suite import Item

    store = ClipStore(2.0, 8)
    requests = [
        base.Request([], store.frames(s), Item(f"{s.id}#{n}", q.kind, s, q), f"{s.id}#{n}")
        for s in load(scenes)[:6]
        for n, q in enumerate(s.questions)
    ]
    model, sampling = Baseline(which), base.Sampling(2, 1.0)
    every = [c[0].text for c in model.sample(requests, sampling)]
    alone = [Baseline(which).sample([request], sampling)[0][0].text for request in requests]
    assert every == alone and len(set(every)) > 4
    assert (
        np.mean([r.item.question.solution() == text for r, text in zip(requests, alone, strict=True)]) < 0.9
    )
