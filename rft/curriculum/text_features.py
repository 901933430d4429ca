"""Whether AHD's stored text features are the language model's own, of prompts that are recorded: AHD learns
against them, and whoever changes the prompts makes them anew with the language model at hand."""

import torch
from torch.nn import functional as F

from rft.curriculum.config import Stage
from tvad.common.errors import InputError

SAME = 0.999  # cosine: kept in bfloat16, the same features differ by less


def check_recorded(stages: list[Stage], recorded: bool) -> None:
    """Raise InputError for a stage that would train AHD against the features of prompts that nobody knows.
    recorded: the start names its prompt set."""
    for stage in stages:
        recorded = recorded or stage.text_features
        if stage.losses.heatmap and not recorded:
            raise InputError(
                f"stage {stage.name}: trains AHD, but the start does not say from which prompts its text"
                " features were made: set text_features: true, and `prompts` of the curriculum"
            )


def agreement(model, processor) -> float | None:
    """Least cosine, over the two classes, of AHD's stored text features with those that the language model
    makes of the recorded prompts now; None without AHD or without prompts."""
    if model.model.ahd is None or not model.config.text_prompts:
        return None
    own = model.own_text_features(processor, model.config.text_prompts)
    return float(F.cosine_similarity(own, model.model.ahd.text_features.to(own), dim=-1).min())


def check(stage: Stage, model, processor) -> None:
    """Raise InputError where a stage would train AHD against the features of another language model. One that
    trains the language model as well is not asked: they are another's after its first step."""
    if not stage.losses.heatmap or stage.text_features:
        return
    with torch.no_grad():
        cosine = agreement(model, processor)
    if cosine is not None and cosine < SAME and not _trains_words(stage, model):
        raise InputError(
            f"stage {stage.name}: trains AHD, whose text features are not those of the language model (cosine"
            f" {cosine:.2f}): set text_features: true"
        )


def _trains_words(stage: Stage, model) -> bool:
    words = [name for name, _ in model.named_parameters() if name.startswith("model.language_model.layers.")]
    return stage.lora is not None or any(map(stage.learns, words))


def told(model, processor) -> str | None:
    """In a line, where a curriculum leaves a language model that is no longer the text features'; else
    None."""
    cosine = agreement(model, processor)
    if cosine is None or cosine >= SAME:
        return None
    return (
        f"AHD's text features are of the language model before it trained (cosine {cosine:.3f} with its own"
        " now): heatmaps are as they were learned, but other prompts need stage 1 anew"
    )
