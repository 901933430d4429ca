"""Checkpoints of other families: no model is scored on clips that do not reach it."""

import pytest
import torch
from stock_checkpoint import TINY, build_stock, stock_tokenizer, template
from transformers import (
    AutoConfig,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from bench.__main__ import main
from bench.models.hf import HfModel
from tvad.common.cli import guard
from tvad.common.errors import InputError

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}


def build_llava(folder):
    """LLaVA-1.5, a model of single pictures, as transformers makes it, with random weights."""
    tokenizer = stock_tokenizer(None)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.image_token = "<image>"
    image = tokenizer.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    text = AutoConfig.for_model("llama", vocab_size=len(tokenizer), **SIZES)
    vision = CLIPVisionConfig(image_size=56, patch_size=14, projection_dim=64, **SIZES)
    config = LlavaConfig(vision_config=vision, text_config=text.to_dict(), image_token_id=image)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    pictures = CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    LlavaProcessor(
        pictures, tokenizer, patch_size=14, chat_template=template("llava_next"), image_token="<image>"
    ).save_pretrained(folder)
    return folder


def test_a_model_of_pictures_is_refused_in_one_line(tmp_path, scenes, capsys):
    model = build_llava(tmp_path / "llava")
    asked = ["run", "--model", f"hf:{model}", "--suite", "scenes", "--data", str(scenes), "--max_videos", "1"]
    assert guard(main, [*asked, "--out", str(tmp_path / "out")]) == 2
    assert "takes no clips" in capsys.readouterr().err.splitlines()[-1]


def test_a_chat_template_that_leaves_the_video_out_is_refused(tmp_path):
    """The published one of the family's text models; the processor takes the clip, the prompt does not."""
    stock = build_stock(tmp_path / "stock", TINY)
    HfModel.open(str(stock))
    words = (
        "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] if p['type'] == 'text' }}{% endfor %}"
    )
    (stock / "chat_template.jinja").write_text(words + "{% endfor %}", encoding="utf-8")
    with pytest.raises(InputError, match="takes no clips"):
        HfModel.open(str(stock))
