"""A checkpoint that this project did not make: Qwen2.5-VL in its published layout, with its published chat
template and generation settings, at a tiny size and with random weights."""

import json
from pathlib import Path

import torch
import transformers as T
import trl
from conftest import ROOT

# generation_config.json of Qwen/Qwen2.5-VL-7B-Instruct; its two ends are this tokenizer's here.
PUBLISHED = {
    "bos_token_id": 0,
    "pad_token_id": 0,
    "do_sample": True,
    "eos_token_id": [2, 0],
    "repetition_penalty": 1.05,
    "temperature": 0.000001,
}
TEMPLATE = Path(trl.__file__).parent / "chat_templates" / "qwen2_5_vl.jinja"
SIZE = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}


def stock(folder: Path, generation: dict | None = None, **vision) -> Path:
    """Written to `folder`; generation: what generation_config.json says, by default what is published."""
    text = dict(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=704,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
        max_position_embeddings=8192,
        initializer_range=0.2,
    )
    sight = dict(
        depth=2, hidden_size=64, intermediate_size=128, out_hidden_size=64, num_heads=4, patch_size=14
    )
    sight |= dict(fullatt_block_indexes=[1], window_size=56, tokens_per_second=2)
    config = T.Qwen2_5_VLConfig(
        text_config=text,
        vision_config=sight | vision,
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=3,
        vision_end_token_id=4,
    )
    config.initializer_range = 0.2
    torch.manual_seed(0)
    model = T.Qwen2_5_VLForConditionalGeneration(config)
    tokenizer = T.PreTrainedTokenizerFast(
        tokenizer_file=str(ROOT / "assets/tvad-tiny/tokenizer.json"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    model.save_pretrained(folder)
    T.Qwen2_5_VLProcessor(
        T.Qwen2VLImageProcessor(size=SIZE),
        tokenizer,
        T.Qwen2VLVideoProcessor(size=SIZE),
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    ).save_pretrained(folder)
    said = PUBLISHED if generation is None else generation
    (folder / "generation_config.json").write_text(json.dumps(said), encoding="utf-8")
    return folder
