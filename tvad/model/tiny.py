"""Builds an untrained T-VAD of any size from a YAML description: tokenizer, processor, model. Made for
`configs/model/tiny*.yaml`."""

import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLVideoProcessor,
)

from tvad.common.config import read_yaml
from tvad.common.errors import InputError
from tvad.data.scenes.describe import symbolic_questions
from tvad.model.configuration import ANOMALY_TOKENS
from tvad.model.modeling import TvadForConditionalGeneration, TvadQwen3ForConditionalGeneration
from tvad.model.processing import CHAT_TEMPLATE, TvadProcessor, TvadQwen3Processor
from tvad.prompts import SYSTEM, question_text

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
FAMILIES = {
    "qwen2_5_vl": (TvadForConditionalGeneration, TvadProcessor, Qwen2VLVideoProcessor),
    "qwen3_vl": (TvadQwen3ForConditionalGeneration, TvadQwen3Processor, Qwen3VLVideoProcessor),
}
PROTOCOL = tuple(f"<{slash}{tag}>" for tag in ("think", "answer", "glue", "box") for slash in ("", "/"))


def build_tokenizer(vocab_size: int, seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the scenes' texts; every digit and every protocol tag is one token."""
    rng = random.Random(seed)
    texts = [SYSTEM, "system user assistant"]
    for question in symbolic_questions(rng.randrange(1 << 30), 3000):
        texts += [
            question_text(question),
            question.solution(),
            " ".join(f"{rng.uniform(0, 4):.2f}, {rng.randrange(1000)}" for _ in range(3)),
        ]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    special = [*SPECIAL, *ANOMALY_TOKENS]
    size = vocab_size - len(PROTOCOL)
    bpe.train_from_iterator(
        [t for text in texts for t in _without_tags(text)],
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    bpe.add_tokens(list(PROTOCOL))
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )


def _without_tags(text: str) -> list[str]:
    for tag in PROTOCOL:
        text = text.replace(tag, "\0")
    return [piece for piece in text.split("\0") if piece]


def build_processor(
    spec: dict, tokenizer: PreTrainedTokenizerFast, prompts_per_step: int
) -> TvadProcessor | TvadQwen3Processor:
    _, processor, video = FAMILIES[spec["family"]]
    vision = spec["vision"]
    pixels = spec["size"] ** 2
    size = {
        "patch_size": vision["patch_size"],
        "temporal_patch_size": vision["temporal_patch_size"],
        "merge_size": vision["spatial_merge_size"],
    }
    edges = {"shortest_edge": pixels // 2, "longest_edge": pixels}
    if spec["family"] == "qwen3_vl":  # its bounds hold for the whole video, not for a frame
        edges = {"shortest_edge": pixels, "longest_edge": pixels * spec["max_frames"]}
    return processor(
        image_processor=Qwen2VLImageProcessor(min_pixels=pixels, max_pixels=pixels, **size),
        video_processor=video(size=edges, cap_pixels_per_frame=False, **size),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
        anomaly_prompts_per_step=prompts_per_step,
    )


def build_config(spec: dict, tokenizer: PreTrainedTokenizerFast, **switches):
    text = dict(spec["text"])
    rope = {
        "rope_type": "default",
        "mrope_section": text.pop("mrope_section"),
        "rope_theta": text.pop("rope_theta"),
    }
    if spec["family"] == "qwen3_vl":
        rope["mrope_interleaved"] = True

    def token(name: str) -> int:
        return int(tokenizer.convert_tokens_to_ids(name))

    config = FAMILIES[spec["family"]][0].config_class(
        text_config=dict(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            rope_parameters=rope,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=token("<|im_end|>"),
            pad_token_id=token("<|endoftext|>"),
            **text,
        ),
        vision_config=dict(out_hidden_size=text["hidden_size"], **spec["vision"]),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        anomaly_start_token_id=token(ANOMALY_TOKENS[0]),
        anomaly_pad_token_id=token(ANOMALY_TOKENS[1]),
        anomaly_end_token_id=token(ANOMALY_TOKENS[2]),
        rae_hidden=spec["rae_hidden"],
        tie_word_embeddings=False,
        **switches,
    )
    config.initializer_range = spec["text"]["initializer_range"]
    return config


def prompts_in(path: str | Path) -> dict[str, list[str]]:
    """The prompt set of AHD's text features in a YAML file."""
    spec = read_yaml(path)
    return {"normal": spec["normal_prompts"], "abnormal": spec["abnormal_prompts"]}


def build(path: str | Path, **switches):
    """Model with random weights (seeded) and processor from the YAML file `path`. switches: fields of T-VAD,
    such as use_ahd=False."""
    spec = read_yaml(path)
    if spec.get("family") not in FAMILIES:
        raise InputError(f"{path}: family is {spec.get('family')!r}, expected one of {', '.join(FAMILIES)}")
    tokenizer = build_tokenizer(spec["vocab_size"], spec["seed"])
    config = build_config(spec, tokenizer, **switches)
    processor = build_processor(spec, tokenizer, config.prompts_per_step)
    torch.manual_seed(spec["seed"])
    model = FAMILIES[spec["family"]][0](config).float()
    eos, pad = config.text_config.eos_token_id, config.text_config.pad_token_id
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = eos, pad
    model.set_text_features(processor, prompts_in(path))
    return model, processor
