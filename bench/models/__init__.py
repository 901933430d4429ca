"""Models by kind: `KIND:PATH`. A model answers requests and, where it can, gives heatmaps."""

from typing import Any

from tvad.common.errors import InputError

KINDS = ("hf", "vllm", "openai", "baseline")


def load(spec: str, **options: Any):
    """Open a model given as KIND:PATH (baseline:NAME, openai:NAME@URL). Raises InputError for an unknown kind
    or an unusable path."""
    kind, _, path = spec.partition(":")
    if kind not in KINDS or not path:
        raise InputError(f"model {spec!r}: expected KIND:PATH with KIND one of {', '.join(KINDS)}")
    if kind == "baseline":
        from bench.models.baseline import Baseline

        return Baseline(path)
    if kind == "openai":
        from bench.models.openai import OpenAiModel

        return OpenAiModel(path, **options)
    if kind == "hf":
        from bench.models.hf import HfModel

        return HfModel.open(path)
    from bench.models.vllm import VllmModel

    return VllmModel(path, **options)
