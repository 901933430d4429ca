"""One page per stage: what trained, the losses, the validation metrics, and pictures of what the model now
sees."""

from pathlib import Path

import cv2
import numpy as np

from bench.models.hf import HfModel
from bench.pages import Section, number, plots, render, settings
from bench.pages.media import picture
from tvad.common.files import write_whole
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.detections import boxes_of, resize
from tvad.pictures import GREEN, RED, glow, outline

PICTURES = 6


def _shown(history: list[dict]) -> list[str]:
    """Losses and validation metrics that occur."""
    return list(
        dict.fromkeys(
            k
            for row in history
            for k in row
            if "loss" in k or (k.startswith("eval_") and not k.endswith(("second", "runtime")))
        )
    )


def _losses(history: list[dict]) -> Section | None:
    curves = []
    for name in _shown(history):
        rows = [row for row in history if name in row]
        if len(rows) < 2:
            continue
        steps, values = [row["step"] for row in rows], [row[name] for row in rows]
        words = f"first {number(values[0])}, last {number(values[-1])}"
        curves.append((plots.curve(steps, values, name, smooth=False), words))
    return Section("Losses and validation", "curves.html", {"curves": curves}) if curves else None


def _in_short(record: dict) -> Section:
    """What the stage was kept by, and every loss and validation metric from first to last."""
    stage, history = record["stage"], record["history"]
    words = [f"{record['steps']} steps."]
    if stage["select"] and record["best"] is not None:
        words = [f"{stage['select']} {number(record['best'])}, the best of {record['steps']} steps, is kept."]
    if (blend := stage.get("selection.blend", 1)) < 1:
        words.append(f"What is kept is {blend:g} of the way from the start to these weights (WiSE-FT).")
    rows = []
    for name in _shown(history):
        values = [row[name] for row in history if name in row]
        rows.append([name, float(values[0]), float(values[-1])])
    table = {"label": "In short", "columns": ["What", "First", "Last"], "rows": rows}
    return Section("In short", "words.html", {"lines": words, **table})


def _pictures(model, processor, samples: list[Sample], store: ClipStore) -> Section | None:
    """Strongest frame of some validation clips: heatmap, true boxes green, predicted boxes red."""
    anomalous = [s for s in samples if s.anomalous][: PICTURES - 1]
    shown = []
    for sample in [*anomalous, *[s for s in samples if s.anomalous is False][:1]]:
        frames = store.frames(sample)
        found = HfModel(model, processor).heatmaps([frames])
        if found is None:
            return None
        height, width = frames.images.shape[1:3]
        maps = [resize(m, height, width) for m in found[0]]
        strongest = int(np.argmax([m.max() for m in maps]))
        shown_map, best = maps[strongest], 2 * strongest  # a map's first frame
        index = int(frames.indices[best])
        scale = max(1, 224 // width)
        image = cv2.resize(
            glow(frames.images[best], shown_map), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST
        )
        true = [t.boxes[index] for t in sample.tracks or () if index in t.anomalous and index in t.boxes]
        image = outline(outline(image, true, GREEN, scale), boxes_of(shown_map), RED, scale)
        text = f"{sample.id}: {sample.category}, frame {index}, peak {shown_map.max():.2f}"
        shown.append((picture(image), text))
    title = "Validation clips: green true, red predicted, glow the heatmap"
    return Section(title, "pictures.html", {"pictures": shown}) if shown else None


def write_stage_report(
    path: Path, record: dict, model, processor, samples: list[Sample], store: ClipStore
) -> None:
    """Write the page of a finished stage; `record` is what stage.json holds."""
    stage = record["stage"]
    chosen = (
        f"; kept by {stage['select']}: {number(record['best'])}"
        if stage["select"] and record["best"] is not None
        else ""
    )
    trains = {
        "label": "What trains",
        "columns": ["Module", "Parameters", "Training"],
        "rows": record["parameters"],
    }
    found = [
        _in_short(record),
        _losses(record["history"]),
        Section("What trains", "table.html", trains),
        _pictures(model, processor, samples, store),
        settings("Settings", stage),
    ]
    subtitle = f"{record['steps']} steps on {stage['data']}, seed {record['seed']}{chosen}"
    write_whole(path, render(f"Stage {stage['name']}", subtitle, [s for s in found if s is not None]))
