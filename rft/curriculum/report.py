"""One page per stage: what trained, the losses, the validation metrics, and pictures of what the model now
sees."""

from pathlib import Path

import cv2
import numpy as np

from bench.models.hf import HfModel
from bench.report import embed_picture, esc, line_plot, number, page
from tvad.common.files import write_whole
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.detections import boxes_of, resize
from tvad.pictures import GREEN, RED, glow, outline

PICTURES = 6


def _plots(history: list[dict]) -> str:
    names = [
        k
        for row in history
        for k in row
        if "loss" in k or (k.startswith("eval_") and not k.endswith(("second", "runtime")))
    ]
    cards = []
    for name in dict.fromkeys(names):
        rows = [row for row in history if name in row]
        if len(rows) < 2:
            continue
        plot = line_plot({name: ([row["step"] for row in rows], [row[name] for row in rows])}, "step", name)
        cards.append(
            f"<div class=card>{plot}<p class=note>{esc(name)}: first {number(rows[0][name])}, last"
            f" {number(rows[-1][name])}</p></div>"
        )
    return f"<div class=cards>{''.join(cards)}</div>"


def _pictures(model, processor, samples: list[Sample], store: ClipStore) -> str:
    """Strongest frame of some validation clips: heatmap, true boxes green, predicted boxes red."""
    anomalous = [s for s in samples if s.anomalous][: PICTURES - 1]
    cards = []
    for sample in [*anomalous, *[s for s in samples if not s.anomalous][:1]]:
        frames = store.frames(sample)
        found = HfModel(model, processor).heatmaps([frames])
        if found is None:
            return ""
        height, width = frames.images.shape[1:3]
        maps = resize(found[0], np.arange(len(frames.images)) // 2, height, width)
        best = int(maps.reshape(len(maps), -1).max(1).argmax())
        index = int(frames.indices[best])
        scale = max(1, 224 // width)
        image = cv2.resize(
            glow(frames.images[best], maps[best]), None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST
        )
        true = [t.boxes[index] for t in sample.tracks or () if index in t.anomalous and index in t.boxes]
        image = outline(outline(image, true, GREEN, scale), boxes_of(maps[best]), RED, scale)
        text = f"{sample.id}: {sample.category}, frame {index}, peak {maps[best].max():.2f}"
        cards.append(
            f"<div class=card><img alt='{esc(text)}' src='{embed_picture(image)}'><p"
            f" class=note>{esc(text)}</p></div>"
        )
    return f"<div class=cards>{''.join(cards)}</div>"


def write_stage_report(
    path: Path, record: dict, model, processor, samples: list[Sample], store: ClipStore
) -> None:
    """Write the page of a finished stage; `record` is what stage.json holds."""
    stage = record["stage"]
    rows = "".join(
        f"<tr><td>{esc(name)}<td>{total:,}<td>{training:,}" for name, total, training in record["parameters"]
    )
    settings = "".join(
        f"<tr><td>{esc(k)}<td>{esc(v)}" for k, v in stage.items() if v not in (None, {}, False)
    )
    chosen = (
        f"; kept by {stage['select']}: {number(record['best'])}"
        if stage["select"] and record["best"] is not None
        else ""
    )
    sections = [
        (
            "What trains",
            f"<div class=wide><table><tr><th>module<th>parameters<th>training</tr>{rows}</table></div>",
        ),
        ("Losses and validation", _plots(record["history"])),
        (
            "Validation clips: green true, red predicted, glow the heatmap",
            _pictures(model, processor, samples, store),
        ),
        ("Settings", f"<div class=wide><table>{settings}</table></div>"),
    ]
    subtitle = f"{record['steps']} steps on {stage['data']}, seed {record['seed']}{chosen}"
    write_whole(path, page(f"Stage {stage['name']}", subtitle, [s for s in sections if s[1]]))
