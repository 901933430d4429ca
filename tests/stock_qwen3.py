"""Qwen3-VL as its makers publish it, with random bfloat16 weights: stock classes, names and shards, the
published chat template (of the installed TRL), the tokenizer of `stock_checkpoint`. Nothing of T-VAD is in
it."""

from pathlib import Path

import torch
from stock_checkpoint import FIRST_SPECIAL, GENERATION, ends, stock_tokenizer, template, vision_tokens
from transformers import (
    GenerationConfig,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

SMALL = {
    "text": dict(
        hidden_size=128, intermediate_size=256, num_attention_heads=4, num_key_value_heads=2, head_dim=32
    ),
    "vision": dict(hidden_size=128, intermediate_size=256, num_heads=4),
    "section": [8, 4, 4],
    "vocabulary": 768,
    "first": None,
}
# Those of Qwen3-VL-4B, but for the number of layers.
WIDE = {
    "text": dict(
        hidden_size=2560, intermediate_size=9728, num_attention_heads=32, num_key_value_heads=8, head_dim=128
    ),
    "vision": dict(hidden_size=1024, intermediate_size=4096, num_heads=16),
    "section": [24, 20, 20],
    "vocabulary": 151_936,
    "first": FIRST_SPECIAL,
}


def build_qwen3(folder: Path, sizes: dict = SMALL, layers: int = 4, pixels: int = 128 * 128) -> Path:
    """Write such a checkpoint into `folder`; layers: of the decoder and of the tower."""
    tokenizer = stock_tokenizer(sizes["first"])
    ids = vision_tokens(tokenizer)
    finish = ends(tokenizer)
    config = Qwen3VLConfig(
        text_config=dict(
            vocab_size=sizes["vocabulary"],
            num_hidden_layers=layers,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": sizes["section"],
                "mrope_interleaved": True,
            },
            max_position_embeddings=262_144,
            bos_token_id=finish["bos_token_id"],
            eos_token_id=finish["eos_token_id"][0],
            tie_word_embeddings=True,
            **sizes["text"],
        ),
        vision_config=dict(
            depth=layers,
            out_hidden_size=sizes["text"]["hidden_size"],
            deepstack_visual_indexes=[0, 1],
            **sizes["vision"],
        ),
        tie_word_embeddings=True,
        **ids,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # a wide one in float32 would take twice the memory
    try:
        model = Qwen3VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config = GenerationConfig(**finish, **GENERATION)
    model.save_pretrained(folder, max_shard_size="1GB")
    edges = {"shortest_edge": 64 * 64, "longest_edge": pixels}
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=edges, patch_size=16),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=edges),
        chat_template=template("qwen3_vl"),
    ).save_pretrained(folder)
    return folder
