"""What a frozen model makes of clips for its classifier (VANGUARD's warm-up on frozen features): computed
once, a part of the clips after the other, and kept in the stage's folder, so that a stage of thousands of
steps costs one pass over the data. A killed run computes what is missing; a video whose bytes are others than
those that were seen is seen again (`bench.inputs.digest_of`)."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.utils.data import Dataset
from tqdm import tqdm

from bench.inputs import digest_of
from rft.curriculum.data import labels_of
from tvad.common.errors import InputError
from tvad.common.files import made, replacing
from tvad.data.dataset import ClipStore
from tvad.data.digest import data_hash
from tvad.data.sample import Sample
from tvad.model.classifier import pooled_of

PART, BATCH = 128, 8  # clips of a file, and of a pass at most (ours)


class Pooled(Dataset):
    """Features (n, 2 D) and labels (n,) of clips, an item a clip."""

    def __init__(self, features: torch.Tensor, labels: torch.Tensor):
        self.features, self.labels = features, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        return {"pooled": self.features[number], "anomalous": self.labels[number]}


def collate(items: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def pooled(
    samples: Sequence[Sample],
    model,
    processor,
    store: ClipStore,
    folder: Path,
    made_of: dict[str, Any],
    name: str,
) -> Pooled:
    """The features of labelled clips, out of `folder` where they were made of the same (`made_of`: JSON), and
    kept there where not. Processes that train together share the work. Raises InputError for features that
    are no numbers."""
    state = PartialState()
    parts = [samples[n : n + PART] for n in range(0, len(samples), PART)]
    identities = [
        json.dumps(made_of | {"clips": data_hash(part)}, sort_keys=True, allow_nan=False) for part in parts
    ]
    made(folder)
    bar = tqdm(total=len(parts), unit="part", desc=f"features of {name}", disable=None, leave=False)
    for number, part in enumerate(parts):
        file = folder / f"{name}-{number:05d}.safetensors"
        if number % state.num_processes == state.process_index:
            before = _kept(file, identities[number])
            seen = _seen(part, before[1] if before else None)
            if before is None or seen is None or seen["digest"] != before[1].get("digest"):
                features = torch.cat(list(_computed(part, model, processor, store)))
                _check(features, part)
                told = {"made_of": identities[number], "videos": json.dumps(seen or {}, allow_nan=False)}
                with replacing(file) as temporary:
                    save_file({"pooled": features.cpu()}, temporary, told)
        bar.update()
    bar.close()
    state.wait_for_everyone()
    files = [folder / f"{name}-{number:05d}.safetensors" for number in range(len(parts))]
    found = [_kept(file, identity) for file, identity in zip(files, identities, strict=True)]
    features = torch.cat([part[0] for part in found if part is not None])
    assert len(features) == len(samples)  # all have been written, by this process or by another
    return Pooled(features, labels_of(samples))


def _computed(part: Sequence[Sample], model, processor, store: ClipStore):
    """Features of clips in their order; those of one shape in a row share a pass."""
    was_training = model.training
    model.eval()
    try:
        clips = (store.frames(sample) for sample in part)
        for _, alike in groupby(clips, lambda clip: clip.images.shape):
            held = list(alike)
            for n in range(0, len(held), BATCH):
                yield pooled_of(model, processor, held[n : n + BATCH]).cpu()
    finally:
        model.train(was_training)


def _seen(part: Sequence[Sample], before: dict[str, Any] | None) -> dict[str, Any] | None:
    """Digest and stamp of the clips' files; None where one cannot be found: whoever reads it says so."""
    try:
        return digest_of([file for sample in part for file in sample.files()], before)
    except (OSError, InputError):
        return None


def _check(features: torch.Tensor, part: Sequence[Sample]) -> None:
    """Raise InputError for clips (n, 2 D) of which the model makes no numbers."""
    bad = [sample.id for sample, fine in zip(part, features.isfinite().all(1), strict=True) if not fine]
    if bad:
        raise InputError(
            f"features: what the model makes of {bad[0]} is NaN or infinite ({len(bad)} of {len(part)} clips"
            " are so): its weights, or the type that they run in (dtype), are bad"
        )


def _kept(file: Path, identity: str) -> tuple[torch.Tensor, dict[str, Any]] | None:
    """What a file holds and of which videos, None where it is not there, damaged, or made of something
    else."""
    try:
        with safe_open(file, "pt") as held:
            told = held.metadata() or {}
            if told.get("made_of") != identity:
                return None
            return held.get_tensor("pooled"), json.loads(told.get("videos", "{}"))
    except (OSError, SafetensorError, ValueError):
        return None
