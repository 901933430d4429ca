"""Keys of configurations that have moved: old name -> new place, dotted. One table for
`tvad.common.config.build`, which refuses an old key in someone's file by it, for `rft.common.stage_record`,
which brings an old record to today's form, and for the test that holds the shipped files to their old
values."""

from collections.abc import Mapping
from typing import Any

STAGE = {
    "data": "data.train",
    "validation": "data.validation",
    "validation_clips": "data.validation_clips",
    "drop_bad_rows": "data.drop_bad_rows",
    "crop": "data.crop",
    "mirror": "data.mirror",
    "kinds": "texts.kinds",
    "dialogue": "texts.dialogue",
    "narratives": "texts.narratives",
    "text_loss": "losses.text",
    "heatmap_loss": "losses.heatmap",
    "frame_loss": "losses.frame",
    "anomalous_weight": "losses.anomalous_weight",
    "answer_weight": "losses.answer_weight",
    "attributes": "read_outs.attributes",
    "objects": "read_outs.objects",
    "steps": "optimiser.steps",
    "epochs": "optimiser.epochs",
    "batch": "optimiser.batch",
    "accumulate": "optimiser.accumulate",
    "lr": "optimiser.lr",
    "lr_floor": "optimiser.lr_floor",
    "warmup": "optimiser.warmup",
    "weight_decay": "optimiser.weight_decay",
    "muon": "optimiser.muon",
    "select": "selection.select",
    "save_steps": "selection.save_steps",
}


def brought_over(data: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    """A flat mapping with old keys as one with the new."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        *groups, last = table.get(key, key).split(".")
        node = found
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return found
