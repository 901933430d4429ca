"""Qwen2.5-VL as its makers publish it, with random bfloat16 weights: stock classes, names and shards, the
published chat template (of the installed TRL), a tokenizer with the published special tokens at their places,
and the published generation settings. Nothing of T-VAD is in it."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import trl
from conftest import SHIPPED
from tokenizers import Tokenizer
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

# In the published order; the first has number 151,643 there.
SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
FIRST_SPECIAL = 151_643
# generation_config.json of Qwen2.5-VL, but for its ends, which are the tokenizer's.
GENERATION = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 0.1, "top_k": 1, "top_p": 0.001}
TEMPLATES = Path(trl.__file__).with_name("chat_templates")
# Published templates that write a video as Qwen-VL does.
FITTING = sorted(
    path.stem for path in TEMPLATES.glob("qwen*.jinja") if "<|video_pad|>" in path.read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Sizes:
    """vocabulary: rows of the embedding; first: the number of the first special token, None right behind the
    words; window: pixels of the tower's windows; pixels: of a frame, at most."""

    vocabulary: int
    first: int | None
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    sections: tuple[int, int, int]
    layers: int
    vision_hidden: int
    vision_inner: int
    vision_heads: int
    window: int
    vision_layers: int = 4
    pixels: int = 112 * 112


TINY = Sizes(704, None, 64, 128, 2, 2, (4, 6, 6), 2, 64, 128, 4, 56, vision_layers=2)
SMALL = Sizes(768, None, 128, 256, 4, 2, (4, 6, 6), 4, 128, 256, 4, 56)
# Those of Qwen2.5-VL-7B, but for the number of layers.
WIDE = Sizes(152_064, FIRST_SPECIAL, 3584, 18_944, 28, 4, (16, 24, 24), 2, 1280, 3420, 16, 112)


def stock_tokenizer(first: int | None) -> PreTrainedTokenizerFast:
    """Byte-level BPE with the tiny checkpoint's merges; unused words fill it up to `first`."""
    spec = json.loads((SHIPPED / "tokenizer.json").read_text(encoding="utf-8"))
    ours = {token["content"] for token in spec["added_tokens"]}
    words = [
        word for word in sorted(spec["model"]["vocab"], key=spec["model"]["vocab"].get) if word not in ours
    ]
    words += [f"\u0120unused{n}" for n in range(0 if first is None else first - len(words))]
    spec["model"]["vocab"] = {word: n for n, word in enumerate(words)}
    plain = spec["added_tokens"][0]
    spec["added_tokens"] = [
        plain | {"id": len(words) + n, "content": name, "special": True} for n, name in enumerate(SPECIAL)
    ]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(spec)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )


def template(name: str) -> str:
    """A chat template that TRL carries, as it was published."""
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def ends(tokenizer) -> dict:
    """The tokens with which the published generation settings end an answer."""
    end, pad = (tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("im_end", "endoftext"))
    return {"bos_token_id": pad, "pad_token_id": pad, "eos_token_id": [end, pad]}


def vision_tokens(tokenizer) -> dict[str, int]:
    """What a configuration says of the tokens of pictures and videos."""
    names = {
        "vision_start": "vision_start",
        "vision_end": "vision_end",
        "image": "image_pad",
        "video": "video_pad",
    }
    return {f"{key}_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for key, name in names.items()}


def build_stock(
    folder: Path,
    sizes: Sizes = SMALL,
    chat_template: str = "qwen2_5_vl",
    dtype: torch.dtype = torch.bfloat16,
    spread: float = 0.02,
) -> Path:
    """Write such a checkpoint into `folder`; spread: standard deviation of the weights."""
    tokenizer = stock_tokenizer(sizes.first)
    ids = vision_tokens(tokenizer)
    finish = ends(tokenizer)
    config = Qwen2_5_VLConfig(
        text_config=dict(
            vocab_size=sizes.vocabulary,
            hidden_size=sizes.hidden,
            intermediate_size=sizes.inner,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.kv_heads,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": list(sizes.sections),
            },
            max_position_embeddings=128_000,
            initializer_range=spread,
            bos_token_id=finish["bos_token_id"],
            eos_token_id=finish["eos_token_id"][0],
            tie_word_embeddings=False,
        ),
        vision_config=dict(
            depth=sizes.vision_layers,
            hidden_size=sizes.vision_hidden,
            intermediate_size=sizes.vision_inner,
            num_heads=sizes.vision_heads,
            out_hidden_size=sizes.hidden,
            fullatt_block_indexes=list(range(1, sizes.vision_layers, 2)),
            window_size=sizes.window,
            initializer_range=spread,
            tokens_per_second=2,
        ),
        tie_word_embeddings=False,
        **ids,
    )
    config.initializer_range = spread
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # a wide one in float32 would take twice the memory
    try:
        model = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config = GenerationConfig(**finish, **GENERATION)
    model.save_pretrained(folder, max_shard_size="1GB" if sizes is WIDE else "300KB")
    edges = {"shortest_edge": 56 * 56, "longest_edge": sizes.pixels}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=edges),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=edges),
        chat_template=template(chat_template),
    ).save_pretrained(folder)
    return folder
