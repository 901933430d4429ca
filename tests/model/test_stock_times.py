"""A stock Qwen2.5-VL, as its makers publish it, sees a clip at the same times in both engines at every rate:
floor(seconds a step * tokens a second * t), which transformers 5.17 alone does not give."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from stock_checkpoint import TINY, build_stock
from transformers import AutoModelForImageTextToText
from vllm_positions import placed

from bench.models.base import Request
from bench.models.clips import made
from bench.models.hf import HfModel
from tvad.model.stock import keep_time
from tvad.prompts import messages

RATES = (0.5, 1, 1.5, 2, 4, 7.5, 25)
STEPS = 9
TOKENS_PER_SECOND = 2


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    return build_stock(tmp_path_factory.mktemp("stock"), TINY)


def request(rate):
    return Request(messages("When does it happen?"), made(2 * STEPS, (56, 84), 0, rate))


def seen(model: HfModel, asked: list[Request]) -> torch.Tensor:
    """Positions (3, B, L) that reach the language model when it answers."""
    found = []
    hook = model.model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: found.append(kwargs["position_ids"]), with_kwargs=True
    )
    model.first_token(asked) if len(asked) == 1 else model._generated(
        model._inputs(asked), 1, do_sample=False
    )
    hook.remove()
    return found[0][-3:]


def times(positions: torch.Tensor, ids: torch.Tensor, video: int) -> list[int]:
    """Of every step of a row, from the first one's; (3, L), (L,)."""
    rows = positions[0, ids == video]
    return (rows - rows[0]).reshape(STEPS, -1)[:, 0].tolist()


def wanted(rate) -> list[int]:
    step = float(torch.tensor(2 / rate, dtype=torch.float32)) * TOKENS_PER_SECOND
    return [int(step * t) for t in range(STEPS)]


@pytest.mark.parametrize("rate", RATES)
def test_the_times_that_reach_a_stock_model_in_transformers(stock, rate):
    model = HfModel.open(str(stock))
    ids = model._inputs([request(rate)])["input_ids"][0]
    assert times(seen(model, [request(rate)])[:, 0], ids, model.model.config.video_token_id) == wanted(rate)


def test_clips_of_several_rates_in_one_pass_keep_their_own(stock):
    model = HfModel.open(str(stock))
    asked = [request(rate) for rate in RATES]
    ids, positions = model._inputs(asked)["input_ids"], seen(model, asked)
    video = model.model.config.video_token_id
    found = [times(positions[:, row], ids[row], video) for row in range(len(RATES))]
    assert found == [wanted(rate) for rate in RATES]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_vllm_gives_a_stock_model_the_same_positions(stock, dtype):
    pytest.importorskip("vllm")
    from vllm.config import ModelConfig
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration
    from vllm.multimodal import MULTIMODAL_REGISTRY

    from tvad.model.stock import keep_time_in_vllm

    keep_time_in_vllm()
    limits = {"video": 1, "image": 0}
    named = ModelConfig(str(stock), dtype=dtype, max_model_len=4096, limit_mm_per_prompt=limits)
    processor = MULTIMODAL_REGISTRY.create_processor(named)
    model = object.__new__(Qwen2_5_VLForConditionalGeneration)
    torch.nn.Module.__init__(model)
    model.config = named.hf_config
    plain = HfModel.open(str(stock))
    for rate in RATES:
        asked = request(rate)
        prompt = plain.processor.tokenizer(plain.rendered(asked))["input_ids"]
        ids, theirs = placed(processor, model, prompt, asked.frames)
        assert ids == plain._inputs([asked])["input_ids"][0].tolist()
        assert torch.equal(theirs, seen(plain, [asked])[:, 0]), rate
        assert times(theirs, torch.tensor(ids), named.hf_config.video_token_id) == wanted(rate)


def test_other_models_keep_their_own(checkpoint):
    model = AutoModelForImageTextToText.from_pretrained(checkpoint)
    keep_time(model)
    assert "get_rope_index" not in vars(model.model)


@pytest.mark.slow
def test_both_engines_answer_a_stock_model_alike(stock):
    pytest.importorskip("vllm")
    script = ROOT / "tests/model/stock_outputs.py"
    done = subprocess.run(
        [sys.executable, str(script), str(stock)], capture_output=True, text=True, cwd=ROOT, timeout=400
    )
    assert done.returncode == 0 and "agree" in done.stdout, done.stdout[-2000:] + done.stderr[-3000:]
