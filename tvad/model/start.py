"""Where training starts: a T-VAD checkpoint, a Qwen-VL checkpoint that becomes one, or a YAML description of
an untrained model."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from tvad.common.errors import InputError
from tvad.common.hub import folder
from tvad.common.quiet import note
from tvad.common.shipped import configuration, configurations, tvad_config
from tvad.model import precursor, tiny
from tvad.model.clips import anomaly_modules, classifier_of
from tvad.model.configuration import ANOMALY_TOKENS, TvadFields
from tvad.model.generation import left_out, plain_config
from tvad.model.modeling import class_for, config_from, in_type, untrained
from tvad.model.processing import check_order
from tvad.model.vision_attention import streamline

# Buffers that some versions of transformers keep beside the weights and all of them compute.
COMPUTED = ("rotary_emb.inv_freq", "position_ids")


def located(path: str) -> str:
    """A checkpoint folder or YAML file of configs/model, given by path, by a shipped one's name or by a name
    at the hub."""
    if path in configurations("model") or path.endswith((".yaml", ".yml")):
        return str(configuration(path, "model"))
    return folder(path)


def start_from(
    path: str,
    seed: int = 0,
    dtype: str = "auto",
    attention: str | None = None,
    decoder: str | None = None,
    **switches,
):
    """Model and processor to train.

    path: a checkpoint folder of T-VAD or of a Qwen2.5-VL or Qwen3-VL backbone, or a YAML file
    (`tvad.model.tiny`). A backbone gets the three special tokens (their embeddings start at the mean of all),
    AHD and RAE with seeded random weights; one that carries the precursor's tokens and decoder keeps them.
    switches: fields of T-VAD such as use_ahd=False; None for a field of `configuration.FORM` is the published
    value, or what the checkpoint has; modules that a checkpoint lacks start random, those that are switched
    off are left out. seed: of all random weights; dtype: auto is as stored, float32 of a YAML file;
    attention: transformers' attn_implementation; decoder: safetensors of the precursor's decoder, for a
    backbone that has none. What the checkpoint says of sampling is left out (`tvad.model.generation`), which
    is said on stderr. Raises InputError that names the path.
    """
    switches = {key: value for key, value in switches.items() if value is not None}
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
            if decoder is not None:
                raise InputError(f"{path}: has a decoder already; give a backbone's folder with `decoder`")
            for key, value in found.form.items():
                if switches.get(key, value) != value:
                    raise InputError(
                        f"{path}: was made with {key} {value}, which cannot become {switches[key]}"
                    )
            config = type(found).from_pretrained(path, **switches)
            parts = ("ahd", "rae", "classifier")
            new = tuple(f"model.{part}." for part in parts if not getattr(found, f"use_{part}"))
            model = opened_whole(path, family, new, config=config, dtype=dtype)
        else:
            model = _grown(
                opened_whole(path, dtype=dtype),
                processor.tokenizer,
                switches,
                precursor.weights_in(decoder or path),
            )
            config = model.config
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be loaded ({str(error).splitlines()[0]})") from error
    _attend(model, attention, path)
    if dropped := left_out(model.generation_config):
        note(f"{path}: left out of its generation_config.json: {dropped}")
    model.generation_config = plain_config(model.generation_config, processor.tokenizer)
    kind = tiny.FAMILIES["qwen3_vl" if "qwen3" in config.model_type else "qwen2_5_vl"].processor
    processor = kind(
        processor.image_processor,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
        anomaly_prompts_per_step=config.prompts_per_step,
        clip_rate=getattr(processor, "clip_rate", None),
        clip_frames=getattr(processor, "clip_frames", None),
        prompt_order=config.prompt_order,
    )
    return model, processor


def _untrained(path: str, seed: int, dtype: str, attention: str | None, switches: dict):
    """The model of a YAML file, with all that holds for one of a folder."""
    kind = torch.float32 if dtype == "auto" else getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise InputError(f"{path}: dtype is {dtype!r}, expected auto, float32 or bfloat16")
    model, processor = tiny.build(path, seed, **switches)
    _attend(model, attention, path)
    in_type(model, kind)
    return model, processor


def _attend(model, attention: str | None, path: str) -> None:
    """Let vision tower and language model attend by `attention`, None for what they have. Once the model is
    whole: a grown backbone's parts have configurations of their own, and untrained models load nothing."""
    if attention is None:
        return
    try:
        model.set_attn_implementation(attention)
    except (ValueError, ImportError) as error:  # ImportError: not installed
        raise InputError(
            f"{path}: cannot be loaded with attention {attention} ({str(error).splitlines()[0]})"
        ) from error


def _grown(base, tokenizer, switches: dict, decoder: dict[str, torch.Tensor]):
    """A backbone with AHD, RAE and the three tokens; decoder: the precursor's weights, {} for none. Its
    modules are taken over as they are: transformers maps the names in published checkpoints by the backbone's
    class, so that loading them by another class would leave the language model random."""
    new = [name for name in ANOMALY_TOKENS if name not in tokenizer.get_vocab()]
    tokenizer.add_special_tokens(
        {"additional_special_tokens": list(ANOMALY_TOKENS)}, replace_extra_special_tokens=False
    )
    ids = [int(i) for i in tokenizer.convert_tokens_to_ids(list(ANOMALY_TOKENS))]
    if max(ids) >= len(base.get_input_embeddings().weight):
        base.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    # A published vocabulary is padded beyond its tokens, so that the three new ones mostly find a row; as
    # random rows they would push the frozen language model about, as the mean of all they say little.
    if new:
        with torch.no_grad():
            table = base.get_input_embeddings().weight
            table[tokenizer.convert_tokens_to_ids(new)] = table[: min(ids)].mean(0)
    if decoder:  # what its class texts are means of goes with it
        switches = {"ahd_layout": "thesis", "prompt_features": "embeddings"} | switches
    names = ("anomaly_start_token_id", "anomaly_pad_token_id", "anomaly_end_token_id")
    config = config_from(base.config, **dict(zip(names, ids, strict=True)), **switches)
    with torch.device("meta"):  # the class without memory for weights: all of them are put in below
        model = untrained(config)
    model.model.visual, model.model.language_model, model.lm_head = (
        base.model.visual,
        base.model.language_model,
        base.lm_head,
    )
    streamline(model.model.visual)
    parts = (*anomaly_modules(config), classifier_of(config))
    for name, part in zip(("ahd", "rae", "classifier"), parts, strict=True):
        setattr(model.model, name, part)
        if part is not None:
            part.apply(model.model._init_weights)
            part.to(base.dtype)
    if decoder and config.ahd_layout == "thesis" and model.model.ahd is not None:
        precursor.put_in(decoder, model.model.ahd)
    model.generation_config = base.generation_config
    return model


def prompts_of(path: str) -> dict[str, list[str]] | None:
    """The prompt set that a start names: of its YAML file or its configuration; None where it has none."""
    path = located(path)
    if path.endswith((".yaml", ".yml")):
        return tiny.prompts_in(path)
    return json.loads(Path(path, "config.json").read_text(encoding="utf-8")).get("text_prompts") or None


def has_classifier(path: str) -> bool:
    """Whether a checkpoint folder is of a model with VANGUARD's classifier."""
    config = Path(path, "config.json")
    return config.is_file() and bool(json.loads(config.read_text(encoding="utf-8")).get("use_classifier"))


def opened_whole(
    path: str | Path, kind: Any = AutoModelForImageTextToText, new: tuple[str, ...] = (), **options
) -> Any:
    """The model of a checkpoint folder by `kind`.from_pretrained with these options. For a weight that is not
    in the folder, or of another size, transformers draws a random one and goes on, and all that the model
    says is random: raises InputError that names the first, but for parts that begin (new: starts of their
    weights' names)."""
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = kind.from_pretrained(path, **options)
    missing = [name for name in info["missing_keys"] if not name.endswith(COMPUTED)]
    if lacks := sorted(name for name in missing if not name.startswith(new)):
        raise InputError(
            f"{path}: its weights lack {lacks[0]} and {len(lacks) - 1} more that config.json says it has"
        )
    if wrong := sorted(info["mismatched_keys"]):
        name, stored, made = wrong[0]
        raise InputError(f"{path}: {name} is of {[*stored]}, by config.json it should be of {[*made]}")
    return model


def load(path: str):
    """Model (evaluation mode, on the GPU if there is one) and processor of a T-VAD checkpoint folder. Raises
    InputError that names it."""
    tvad_config(path)
    try:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model: torch.nn.Module = opened_whole(path, dtype="auto")
        processor = AutoProcessor.from_pretrained(path)
        check_order(path, model, processor)
        return model.to(device).eval(), processor
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be loaded ({str(error).splitlines()[0]})") from error
