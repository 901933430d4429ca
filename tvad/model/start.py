"""Where training starts: a T-VAD checkpoint, a Qwen-VL checkpoint that becomes one, or a YAML description of
an untrained model."""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from tvad.common.errors import InputError
from tvad.common.shipped import checkpoint, configuration, configurations
from tvad.model import tiny
from tvad.model.clips import anomaly_modules
from tvad.model.configuration import ANOMALY_TOKENS, TvadFields
from tvad.model.modeling import class_for, config_from, untrained


def located(path: str) -> str:
    """A checkpoint folder or YAML file of configs/model, given by path or by a shipped one's name."""
    if path in configurations("model") or path.endswith((".yaml", ".yml")):
        return str(configuration(path, "model"))
    return checkpoint(path)


def start_from(path: str, seed: int = 0, dtype: str = "auto", attention: str | None = None, **switches):
    """Model and processor to train.

    path: a checkpoint folder of T-VAD or of a Qwen2.5-VL or Qwen3-VL backbone, or a YAML file
    (`tvad.model.tiny`). A backbone gets the three special tokens (their embeddings start at the mean of all),
    AHD and RAE with seeded random weights. switches: fields of T-VAD such as use_ahd=False; modules that a
    checkpoint lacks start random, those that are switched off are left out. seed: of all random weights;
    dtype: auto is as stored, float32 of a YAML file; attention: transformers' attn_implementation. Raises
    InputError that names the path.
    """
    path = located(path)
    if path.endswith((".yaml", ".yml")):
        return _untrained(path, seed, dtype, attention, switches)
    if not Path(path, "config.json").is_file():
        raise InputError(f"{path}: not a checkpoint folder (no config.json) and not a YAML file")
    try:
        found = AutoConfig.from_pretrained(path)
        processor = AutoProcessor.from_pretrained(path)
        family = class_for(found)
        torch.manual_seed(seed)
        if isinstance(found, TvadFields):
            config = type(found).from_pretrained(path, **switches)
            model = family.from_pretrained(path, config=config, dtype=dtype, attn_implementation=attention)
        else:
            model = _grown(
                AutoModelForImageTextToText.from_pretrained(path, dtype=dtype, attn_implementation=attention),
                processor.tokenizer,
                switches,
            )
            config = model.config
    except InputError:
        raise
    except (
        OSError,
        ValueError,
        ImportError,
    ) as error:  # ImportError: an attention implementation that is not installed
        raise InputError(f"{path}: cannot be loaded ({str(error).splitlines()[0]})") from error
    kind = tiny.FAMILIES["qwen3_vl" if "qwen3" in config.model_type else "qwen2_5_vl"].processor
    processor = kind(
        processor.image_processor,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
        anomaly_prompts_per_step=config.prompts_per_step,
    )
    return model, processor


def _untrained(path: str, seed: int, dtype: str, attention: str | None, switches: dict):
    """The model of a YAML file, with all that holds for one of a folder."""
    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise InputError(f"{path}: dtype is {dtype!r}, expected auto, float32 or bfloat16")
    model, processor = tiny.build(path, seed, **switches)
    try:
        if attention is not None:
            model.set_attn_implementation(attention)
    except (ValueError, ImportError) as error:
        raise InputError(f"{path}: cannot be loaded ({str(error).splitlines()[0]})") from error
    return model.to(kind), processor


def _grown(base, tokenizer, switches: dict):
    """A backbone with AHD, RAE and the three tokens. Its modules are taken over as they are: transformers
    maps the names in published checkpoints by the backbone's class, so that loading them by another class
    would leave the language model random."""
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(ANOMALY_TOKENS)}, replace_extra_special_tokens=False
    )
    ids = [int(i) for i in tokenizer.convert_tokens_to_ids(list(ANOMALY_TOKENS))]
    if max(ids) >= len(base.get_input_embeddings().weight):
        base.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    # A published vocabulary is padded beyond its tokens, so that the three new ones mostly find a row; as
    # random rows they would push the frozen language model about, as the mean of all they say little.
    with torch.no_grad():
        table = base.get_input_embeddings().weight
        table[ids] = table[: min(ids)].mean(0)
    names = ("anomaly_start_token_id", "anomaly_pad_token_id", "anomaly_end_token_id")
    config = config_from(base.config, **dict(zip(names, ids, strict=True)), **switches)
    with torch.device("meta"):  # the class without memory for weights: all of them are put in below
        model = untrained(config)
    model.model.visual, model.model.language_model, model.lm_head = (
        base.model.visual,
        base.model.language_model,
        base.lm_head,
    )
    for name, part in zip(("ahd", "rae"), anomaly_modules(config), strict=True):
        setattr(model.model, name, part)
        if part is not None:
            part.apply(model.model._init_weights)
            part.to(base.dtype)
    model.generation_config = base.generation_config
    return model


def prompts_of(path: str) -> dict[str, list[str]] | None:
    """The prompt set that a start names: of its YAML file or its configuration; None where it has none."""
    path = located(path)
    if path.endswith((".yaml", ".yml")):
        return tiny.prompts_in(path)
    return json.loads(Path(path, "config.json").read_text(encoding="utf-8")).get("text_prompts") or None


def load(path: str):
    """Model (evaluation mode, on the GPU if there is one) and processor of a T-VAD checkpoint folder. Raises
    InputError that names it."""
    if not Path(path, "config.json").is_file():
        raise InputError(f"{path}: not a model folder (no config.json)")
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: torch.nn.Module = AutoModelForImageTextToText.from_pretrained(path, dtype="auto")
        return model.to(device).eval(), AutoProcessor.from_pretrained(path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be loaded ({str(error).splitlines()[0]})") from error
