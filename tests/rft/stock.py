"""Stock checkpoints at tiny size, as their makers lay them out: transformers' own model and processor of a
family, a published chat template. Nothing of this project's model code takes part in writing them."""

from pathlib import Path

import torch
import transformers
import trl
from conftest import SHIPPED
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
# Published templates that write a video as Qwen-VL does.
FITTING = sorted(
    path.stem for path in TEMPLATES.glob("qwen*.jinja") if "<|video_pad|>" in path.read_text(encoding="utf-8")
)
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 704,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "bos_token_id": None,
}
TOKENS = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4}
SIZE = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}


def template(name: str) -> str:
    """A chat template that TRL carries, as it was published."""
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def qwen25(folder: Path, chat_template: str = "qwen2_5_vl", dtype=torch.float32, **vision) -> Path:
    """A Qwen2.5-VL of two language and two vision layers, with a template of TEMPLATES."""
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "out_hidden_size": 64, "num_heads": 4}
    config = transformers.Qwen2_5_VLConfig(
        text_config={"model_type": "qwen2_5_vl_text", "rope_parameters": rope, **TEXT},
        vision_config={
            "depth": 2,
            "patch_size": 14,
            "fullatt_block_indexes": [1],
            "window_size": 56,
            "tokens_per_second": 2,
            **sizes,
            **vision,
        },
        **TOKENS,
    )
    model = transformers.Qwen2_5_VLForConditionalGeneration(config).to(dtype)
    model.config.pad_token_id = 0
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(SHIPPED / "tokenizer.json"), eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(size=SIZE),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(size=SIZE),
        chat_template=template(chat_template),
    ).save_pretrained(folder)
    return folder
