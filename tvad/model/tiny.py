"""Builds an untrained T-VAD of any size from a YAML description: tokenizer, processor, model. Made for
`configs/model/tiny*.yaml`."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen3VLVideoProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from tvad.common import config
from tvad.data.scenes.describe import symbolic_questions
from tvad.model.configuration import ANOMALY_TOKENS, FORM, TvadConfig, TvadQwen3Config
from tvad.model.modeling import untrained
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


class Family(NamedTuple):
    """What makes a T-VAD on a backbone."""

    config: type[TvadConfig] | type[TvadQwen3Config]
    processor: type[TvadProcessor] | type[TvadQwen3Processor]
    video_processor: type[Qwen2VLVideoProcessor] | type[Qwen3VLVideoProcessor]


FAMILIES = {
    "qwen2_5_vl": Family(TvadConfig, TvadProcessor, Qwen2VLVideoProcessor),
    "qwen3_vl": Family(TvadQwen3Config, TvadQwen3Processor, Qwen3VLVideoProcessor),
}
PROTOCOL = tuple(f"<{slash}{tag}>" for tag in ("think", "answer", "glue", "box") for slash in ("", "/"))


@dataclass
class TinyModel:
    """An untrained T-VAD of any size."""

    FOLDER: ClassVar[str] = "model"

    family: Literal["qwen2_5_vl", "qwen3_vl"]
    """Backbone."""
    seed: int
    """Of the texts that the tokenizer is trained on, and of the weights where a curriculum has no own."""
    vocab_size: int
    """Of the tokenizer, protocol tags included; the model's is rounded up to a multiple of 64."""
    vision: dict
    """The backbone's vision configuration, by transformers' names."""
    text: dict
    """The backbone's text configuration, by transformers' names; mrope_section and rope_theta among them."""
    rae_hidden: int
    """Width of RAE's MLPs."""
    size: int
    """Pixels: clips are scaled to about size x size."""
    normal_prompts: list[str]
    """What AHD's text features of the normal class are made from."""
    abnormal_prompts: list[str]
    """The same of the anomalous class."""
    rae_input: Literal["classes", "abnormal"] = "classes"
    """What RAE differences: both class heatmaps before the softmax, or the abnormal one after it."""
    prompt_order: Literal["video_first", "anomaly_first"] = "video_first"
    """Where the anomaly prompts stand: behind the video tokens or before them."""
    ahd_layout: Literal["paper", "thesis"] = "paper"
    """AHD as in the paper or as in its precursor."""
    prompt_features: Literal["hidden", "embeddings"] = "hidden"
    """What AHD's text features are means of: hidden states or input embeddings."""
    max_frames: int = 16
    """Frames that the pixels of a clip are reckoned for (Qwen3-VL)."""

    @property
    def prompts(self) -> dict[str, list[str]]:
        return {"normal": self.normal_prompts, "abnormal": self.abnormal_prompts}


def read(path: str | Path) -> TinyModel:
    """The description in a YAML file. Raises InputError that names the key."""
    return config.read(TinyModel, path)


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
    # The tags are cut out before training and added after it: no merge spans one, and each is one token.
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
    spec: TinyModel, tokenizer: PreTrainedTokenizerFast, built: TvadConfig | TvadQwen3Config
) -> TvadProcessor | TvadQwen3Processor:
    family = FAMILIES[spec.family]
    pixels = spec.size**2
    size = {
        "patch_size": spec.vision["patch_size"],
        "temporal_patch_size": spec.vision["temporal_patch_size"],
        "merge_size": spec.vision["spatial_merge_size"],
    }
    edges = {"shortest_edge": pixels // 2, "longest_edge": pixels}
    if spec.family == "qwen3_vl":  # its bounds hold for the whole video, not for a frame
        edges = {"shortest_edge": pixels, "longest_edge": pixels * spec.max_frames}
    return family.processor(
        image_processor=Qwen2VLImageProcessor(min_pixels=pixels, max_pixels=pixels, **size),
        video_processor=family.video_processor(size=edges, cap_pixels_per_frame=False, **size),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
        anomaly_prompts_per_step=built.prompts_per_step,
        prompt_order=built.prompt_order,
    )


def build_config(
    spec: TinyModel, tokenizer: PreTrainedTokenizerFast, **switches
) -> TvadConfig | TvadQwen3Config:
    text = dict(spec.text)
    rope = {
        "rope_type": "default",
        "mrope_section": text.pop("mrope_section"),
        "rope_theta": text.pop("rope_theta"),
    }
    if spec.family == "qwen3_vl":
        rope["mrope_interleaved"] = True

    def token(name: str) -> int:
        return cast(int, tokenizer.convert_tokens_to_ids(name))

    built = FAMILIES[spec.family].config(
        text_config=dict(
            vocab_size=-(-len(tokenizer) // 64) * 64,
            rope_parameters=rope,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=token("<|im_end|>"),
            pad_token_id=token("<|endoftext|>"),
            **text,
        ),
        vision_config=dict(out_hidden_size=text["hidden_size"], **spec.vision),
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        anomaly_start_token_id=token(ANOMALY_TOKENS[0]),
        anomaly_pad_token_id=token(ANOMALY_TOKENS[1]),
        anomaly_end_token_id=token(ANOMALY_TOKENS[2]),
        rae_hidden=spec.rae_hidden,
        tie_word_embeddings=False,
        **{key: getattr(spec, key) for key in FORM} | switches,
    )
    built.initializer_range = spec.text["initializer_range"]
    return built


def prompts_in(path: str | Path) -> dict[str, list[str]]:
    """The prompt set of AHD's text features in a YAML file."""
    return read(path).prompts


def build(path: str | Path, seed: int | None = None, **switches):
    """Model with random weights (of `seed`, else of the file's) and processor from the YAML file `path`.
    switches: fields of T-VAD, such as use_ahd=False. Raises InputError that names the key."""
    spec = read(path)
    tokenizer = build_tokenizer(spec.vocab_size, spec.seed)
    built = build_config(spec, tokenizer, **switches)
    processor = build_processor(spec, tokenizer, built)
    torch.manual_seed(spec.seed if seed is None else seed)
    model = untrained(built).float()
    eos, pad = built.text_config.eos_token_id, built.text_config.pad_token_id
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = eos, pad
    model.set_text_features(processor, spec.prompts)
    return model, processor
