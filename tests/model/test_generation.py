"""A checkpoint's own sampling is not used: its answers are the same whatever its generation_config.json says,
and what is drawn is drawn from the distribution that log-probs are of."""

import json
import shutil

import numpy as np
import pytest
import torch
from stock_checkpoint import GENERATION, TINY, build_stock, ends, stock_tokenizer
from transformers import AutoModelForImageTextToText, GenerationConfig

from bench.models.base import Request, Sampling
from bench.models.hf import HfModel
from rft.grpo.logprobs import group_logprobs
from tvad.data.video import Frames
from tvad.model.generation import left_out, plain_config
from tvad.model.start import load, start_from
from tvad.model.vllm_plugin import register
from tvad.prompts import messages
from tvad.use.infer import ask
from tvad.use.serving import command

ENDS = ends(stock_tokenizer(TINY.first))
# Each of them alone, strong enough to change any answer.
SETTINGS = [
    {"repetition_penalty": 3.0},
    {"no_repeat_ngram_size": 1},
    {"suppress_tokens": list(range(10, 500))},
    {"begin_suppress_tokens": list(range(10, 500))},
    {"bad_words_ids": [[token] for token in range(10, 500)]},
    {"forced_bos_token_id": 40},
    {"forced_eos_token_id": ENDS["pad_token_id"]},
    {"min_new_tokens": 8},
    {"max_length": 20},
    {"max_new_tokens": 2},
    {"exponential_decay_length_penalty": [1, 5.0]},
    {"sequence_bias": [[[40], 50.0]]},
    {"encoder_no_repeat_ngram_size": 1},
    {"num_beams": 3},
    {"do_sample": True, "temperature": 5.0},
    {"do_sample": True, "top_k": 1, "min_p": 0.9, "typical_p": 0.1, "epsilon_cutoff": 0.5, "eta_cutoff": 0.5},
    GENERATION,
]


def requests() -> list[Request]:
    found = []
    for n in range(3):
        images = np.random.default_rng(n).integers(0, 255, (4, 56, 84, 3), dtype=np.uint8)
        clip = Frames(images, np.arange(4) / 2, np.arange(4), 2.0, 4)
        found.append(Request(messages(f"What happens in video {n}?"), clip, key=str(n)))
    return found


def stock_of(folder):
    """Weights large enough that a setting of sampling would change an answer."""
    return build_stock(folder, TINY, dtype=torch.float32, spread=0.2)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A T-VAD checkpoint on a stock backbone, as a training leaves one that kept its generation settings."""
    folder = tmp_path_factory.mktemp("started")
    model, processor = start_from(str(stock_of(tmp_path_factory.mktemp("stock"))))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def saying(folder, out, settings):
    shutil.copytree(folder, out)
    (out / "generation_config.json").write_text(json.dumps(ENDS | settings), encoding="utf-8")
    return out


@pytest.fixture(scope="module")
def silent(started, tmp_path_factory):
    """Greedy and drawn answers of a checkpoint that says nothing of sampling."""
    folder = saying(started, tmp_path_factory.mktemp("silent") / "model", {})
    return answers(folder)


def answers(folder):
    engine = HfModel.open(str(folder))
    model, processor = load(str(folder))
    said, _ = ask(model, processor, [requests()[0].frames], "What happens?", max_tokens=10)
    found = [
        engine.sample(requests(), Sampling(n, t, max_tokens=12, seed=3)) for n, t in ((1, 0.0), (2, 1.0))
    ]
    return said, [[c.ids for group in groups for c in group] for groups in found]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: next(iter(settings)))
def test_an_answer_is_the_same_whatever_the_checkpoint_says_of_sampling(settings, started, silent, tmp_path):
    assert answers(saying(started, tmp_path / "model", settings)) == silent


def test_these_settings_do_change_what_generate_gives_by_itself(started, tmp_path):
    engine = HfModel.open(str(started))
    ours = engine.sample(requests()[:1], Sampling(1, 0.0, max_tokens=12))[0][0].ids
    folder = saying(started, tmp_path / "model", {"suppress_tokens": ours[:1]})
    inputs = dict(engine._inputs(requests()[:1]))
    inputs.pop("mm_token_type_ids", None)
    plain = AutoModelForImageTextToText.from_pretrained(folder).eval()
    theirs = plain.generate(**inputs, max_new_tokens=12, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert theirs.tolist() != ours


def test_drawn_log_probs_are_the_trainers(started, tmp_path):
    folder = saying(started, tmp_path / "model", GENERATION | {"top_k": 3, "repetition_penalty": 2.0})
    engine = HfModel.open(str(folder))
    found = engine.sample(requests()[:1], Sampling(4, 1.0, max_tokens=12, seed=1))[0]
    prompt = engine._inputs(requests()[:1])["input_ids"][0]
    with torch.no_grad():
        vision = engine.processor.vision_inputs([requests()[0].frames])
        ids = [torch.tensor(c.ids) for c in found]
        ours, _ = group_logprobs(engine.model, engine.model, [prompt], [ids], vision, 1.0, 0)
    for completion, values in zip(found, ours[0], strict=True):
        assert np.allclose(values.numpy(), completion.logprobs, atol=1e-4)
    # Of the whole distribution: with top_k 3 every token would be among the likeliest three.
    assert min(min(c.logprobs) for c in found) < np.log(1 / 20)


def test_a_start_says_what_it_leaves_out_and_keeps_the_ends(tmp_path, capsys):
    model, _ = start_from(str(stock_of(tmp_path)))
    assert "repetition_penalty 1.05, temperature 0.1" in capsys.readouterr().err
    assert left_out(model.generation_config) == ""
    assert set(model.generation_config.eos_token_id) == set(ENDS["eos_token_id"])


def test_the_tokenizers_own_end_is_among_the_ends(started):
    tokenizer = load(str(started))[1].tokenizer
    end = tokenizer.eos_token_id
    assert plain_config(GenerationConfig(eos_token_id=7), tokenizer).eos_token_id == [7, end]
    assert plain_config(GenerationConfig(), tokenizer).eos_token_id == end


@pytest.mark.slow
def test_a_served_chat_takes_no_sampling_from_the_checkpoint(started):
    vllm = pytest.importorskip("vllm.config")
    register()
    told = command(str(started), "127.0.0.1", 8000, 2.0, 8, [])
    named = told[told.index("--generation-config") + 1]
    config = vllm.ModelConfig(str(started), generation_config=named, dtype="float32")
    assert config.get_diff_sampling_param() == {}
    # As the offline engine has it, and the ends stay.
    assert set(config.try_get_generation_config()["eos_token_id"]) == set(ENDS["eos_token_id"])
