"""What is shown of answers, whatever shows it: their class and reference, means by class, and frames of the
clip with boxes (green true, red predicted) under the heatmap."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from bench.suite import Item
from bench.tasks import RATIONALE, TASKS
from tvad.answer import Spans
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.data.video import Frames
from tvad.pictures import GREEN, RED, glow, within

QUALITY = 82  # of a JPEG
TILE, LONGEST = 168, 4096  # pixels: the least width of a frame among four, and its longest side


def reference(item: Item) -> str:
    """What is right, in words."""
    question = item.question
    if item.task == RATIONALE:
        return question.rationale or ""
    return f"{question.answer} {in_words(question.spans)}".rstrip()


def in_words(spans: Spans | None) -> str:
    """Spans as a person reads them; "" for None."""
    if isinstance(spans, str):
        return spans
    if spans is None:
        return ""
    return ", ".join(str(list(span)) for span in spans)


def kind_of(sample: Sample) -> str:
    """The class by which answers are grouped."""
    return sample.category or sample.label or "unknown"


def class_means(lines: list[dict], samples: list[Sample]) -> dict[str, dict[str, tuple[float, int]]]:
    """{task: {class: (mean of the task's primary metric, answers)}}."""
    kinds = {s.id: kind_of(s) for s in samples}
    values: dict[str, dict[str, list[float]]] = {}
    for line in lines:
        if (value := line["scores"].get(TASKS[line["task"]].PRIMARY)) is not None:
            values.setdefault(line["task"], {}).setdefault(kinds[line["sample"]], []).append(value)
    return {
        task: {kind: (float(np.mean(v)), len(v)) for kind, v in sorted(of.items())}
        for task, of in values.items()
    }


def scaled(image: np.ndarray, scale: float) -> np.ndarray:
    """The image `scale` times as large, and two pixels at least; enlarged, its pixels stay sharp."""
    height, width = (max(2, round(side * scale)) for side in image.shape[:2])
    way = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    return cv2.resize(image, (width, height), interpolation=way)


def drawn(
    image: np.ndarray, frame: int, sample: Sample, line: dict, heat: np.ndarray | None, scale: float
) -> np.ndarray:
    """Frame number `frame` of the video, an image (H, W, 3) uint8 RGB that is already `scale` times as large,
    with the true and the answer's boxes over the heatmap (h, w)."""
    if heat is not None:
        image = glow(image, heat)
    height, width = image.shape[:2]
    true = [t.boxes[frame] for t in sample.tracks or () if frame in t.anomalous and frame in t.boxes]
    true = [(x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale) for x1, y1, x2, y2 in true]
    given = [
        (x1 / 1000 * width, y1 / 1000 * height, x2 / 1000 * width, y2 / 1000 * height)
        for x1, y1, x2, y2 in line["parsed"]["boxes"] or ()
    ]
    image = np.ascontiguousarray(image)
    for boxes, colour in ((true, GREEN), (given, RED)):
        for box in boxes:
            x1, y1, x2, y2 = map(int, box)
            cv2.rectangle(image, (x1, y1), (x2, y2), colour, max(1, round(width / 200)))
    return image


def four(count: int) -> list[int]:
    """Up to four places of `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, 4).round().astype(int)).tolist()


def sheet(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Images of one size in two rows."""
    half = -(-len(tiles) // 2)
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (2 * half - len(tiles))]
    return np.concatenate([np.concatenate(filled[:half], 1), np.concatenate(filled[half:], 1)], 0)


def picture(
    sample: Sample,
    line: dict,
    store: ClipStore,
    heat: np.ndarray | None,
    altered: Callable[[Sample, Frames], np.ndarray] | None = None,
) -> np.ndarray:
    """Four sampled frames, drawn over the heatmap (T', h, w): an RGB image (H, W, 3) uint8. altered: gives
    other images of the same size to be shown in the frames' place."""
    frames = store.frames(sample)
    images = frames.images if altered is None else altered(sample, frames)
    count, height, width = images.shape[:3]
    scale = within(max(1, TILE // width), height, width, LONGEST)
    tiles = []
    for n in four(count):
        here = None if heat is None else heat[n * len(heat) // count]
        tiles.append(drawn(scaled(images[n], scale), int(frames.indices[n]), sample, line, here, scale))
    return sheet(tiles)
