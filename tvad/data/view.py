"""A page to look through samples: four frames of each with its tracks' boxes, its mask and the boxes of its
questions, and all that is said of it. It stands alone, fetches nothing, and texts are escaped."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup
from tqdm import tqdm

from tvad.common.errors import InputError, at_least
from tvad.data import truth, video
from tvad.data.sample import Sample
from tvad.data.shards import chosen
from tvad.pages import Section, render
from tvad.pictures import GREEN, RED, data_url, fit, outline

ASKED = (90, 160, 255)
LOOKED, SHOWN = 16, 4  # frames decoded, of which so many are shown
TILE = 320  # pixels: the width of a frame
QUALITY = 80  # of a JPEG
LEGEND = (
    "Red: anomalous, by tracks and masks (outlined). Green: other tracks. Blue: asked about. Of an anomalous"
    " clip two of the four frames show the anomaly, where it is known when."
)


def drawn(samples: Sequence[Sample], limit: int, seed: int) -> Sequence[Sample]:
    """At most `limit` of the samples, by seed, in their order. Raises InputError for a seed below 0."""
    at_least("seed", seed, 0)
    if len(samples) <= limit:
        return samples
    places = np.random.default_rng(seed).choice(len(samples), limit, replace=False)
    return chosen(samples, np.sort(places).tolist())


def _picked(wrong: np.ndarray) -> list[int]:
    """SHOWN of the frames (n,), half of them anomalous ones where there are some, each spread evenly."""
    lit, others = np.flatnonzero(wrong), np.flatnonzero(~wrong)
    half = min(len(lit), max(SHOWN // 2, SHOWN - len(others)))
    found: list[int] = []
    for places, count in ((lit, half), (others, min(len(others), SHOWN - half))):
        if count:
            found += places[np.linspace(0, len(places) - 1, count).round().astype(int)].tolist()
    return sorted(set(found))


def pictures(sample: Sample) -> tuple[np.ndarray, list[float]]:
    """Frames of a sample as a sheet (H, W, 3), two in a row, and their seconds. Raises InputError where the
    video or its mask cannot be read."""
    frames = video.decode(sample.clip(), None, LOOKED)
    height, width = frames.images.shape[1:3]
    lit = truth.open_mask(sample, frames.total, height, width)
    labels = truth.frame_labels(sample, frames.clock.times, lit)
    wrong = np.zeros(len(frames.images), bool) if labels is None else labels[frames.indices].astype(bool)
    places = _picked(wrong)
    times = [float(frames.times[n]) for n in places]
    asked: dict[int, list] = {n: [] for n in places}
    for box in (box for question in sample.questions for box in question.boxes):
        moment = times[0] if box.t is None else box.t
        asked[places[int(np.argmin(np.abs(np.array(times) - moment)))]].append(box.xyxy)
    tiles = []
    for n in places:
        frame, image = int(frames.indices[n]), frames.images[n]
        tile = np.ascontiguousarray(fit(image, TILE, TILE))
        across, down = tile.shape[1] / width, tile.shape[0] / height
        if lit is not None:
            edge = cv2.resize(lit[frame].astype(np.uint8), tile.shape[1::-1], interpolation=cv2.INTER_NEAREST)
            found, _ = cv2.findContours(edge, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(tile, found, -1, RED, 2)
        for track in sample.tracks or ():
            if (corners := track.boxes.get(frame)) is not None:
                colour = RED if frame in track.anomalous else GREEN
                word = track.kind.encode("ascii", "replace").decode()[:24]  # Hershey's letters are no others
                tile = outline(tile, [corners], colour, (across, down), [word])
        corners_of = [[x / 1000 * w for x, w in zip(b, (width, height) * 2, strict=True)] for b in asked[n]]
        tile = outline(tile, [(a, b, c - 1, d - 1) for a, b, c, d in corners_of], ASKED, (across, down))
        tiles.append(tile)
    rows = [tiles[n : n + 2] for n in range(0, len(tiles), 2)]
    if len(rows[-1]) < len(rows[0]):
        rows[-1].append(np.full_like(rows[-1][0], 128))
    return np.concatenate([np.concatenate(row, 1) for row in rows]), times


def card(sample: Sample) -> dict[str, Any]:
    """What the page shows of a sample."""
    picture, moments, problem = None, "", ""
    try:
        sheet, times = pictures(sample)
        picture = Markup(data_url(sheet, QUALITY))
        moments = ", ".join(f"{t:.1f}" for t in times) + " s"
    except InputError as error:
        problem = f"Cannot be shown: {error}"
    length = "unknown" if sample.video.duration is None else f"{sample.video.duration:.2f} s"
    spans = "unknown" if sample.spans is None else ", ".join(f"{a:g} to {b:g} s" for a, b in sample.spans)
    told = [("Video", f"{sample.video.path}, {length}"), ("Anomalous", spans or "never")]
    told += [
        (name, text)
        for name, text in (
            ("Description", sample.description),
            ("Why", sample.rationale),
            ("Key object", sample.key_object),
            *((asked, reply) for asked, reply in sample.dialogue or ()),
        )
        if text
    ]
    conditions = (f"{name}: {value}" for name, value in (sample.conditions or {}).items())
    others = (sample.split, sample.source, *conditions)
    return {
        "name": sample.id,
        "label": sample.label or "unknown",
        "kind": sample.category or sample.label or "unknown",
        "tags": [*dict.fromkeys((sample.label or "unknown", *sample.categories)), *others],
        "picture": picture,
        "moments": moments,
        "problem": problem,
        "told": told,
        "questions": [
            {"kind": q.kind, "text": q.text, "options": q.options or (), "answer": sample.solution(q)}
            for q in sample.questions
        ],
    }


def page(folder: str, samples: Sequence[Sample], limit: int, seed: int) -> str:
    """The page of at most `limit` samples, drawn by seed. Raises InputError for a limit under one."""
    at_least("limit", limit, 1)
    cards = [card(s) for s in tqdm(drawn(samples, limit, seed), unit="clip", desc="view", disable=None)]
    of = f"{len(cards)} of {len(samples):,} samples"
    of += f", drawn by seed {seed}" if len(samples) > limit else ""
    values = {
        "legend": LEGEND,
        "cards": cards,
        "labels": sorted({c["label"] for c in cards}),
        "kinds": sorted({c["kind"] for c in cards}),
    }
    return render(f"Samples of {folder}", of, [Section("Samples", "data.html", values)])
