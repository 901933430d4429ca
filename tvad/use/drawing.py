"""Pictures of an analysed video: overlays with boxes, a sheet of heatmaps, the trajectory, the timeline of
frame scores."""

from collections.abc import Iterator

import cv2
import numpy as np
from tqdm import tqdm

from tvad.data import video
from tvad.data.sample import Sample
from tvad.detections import THRESHOLD
from tvad.pictures import GREEN, RED, fit, glow, outline
from tvad.use.analysis import Analysis


def step_picture(analysis: Analysis, step: int) -> np.ndarray:
    """A step's frame with its heatmap and the boxes of the objects then."""
    image = fit(analysis.image(step))
    if analysis.maps is not None:
        image = glow(image, analysis.maps[step])
    shown = [(n, found.boxes[step]) for n, found in enumerate(analysis.objects) if step in found.boxes]
    return outline(image, [box for _, box in shown], RED, _scale(image, analysis), [str(n) for n, _ in shown])


def _scale(image: np.ndarray, analysis: Analysis) -> tuple[float, float]:
    """How many times as large the picture is as the video, across and down."""
    return image.shape[1] / analysis.width, image.shape[0] / analysis.height


def sheet(analysis: Analysis, most: int = 8) -> np.ndarray:
    """Up to `most` steps in two rows, evenly spread, the most anomalous among them."""
    count = len(analysis.jpegs)
    chosen = set(np.linspace(0, count - 1, min(most, count)).round().astype(int).tolist())
    if analysis.maps is not None and (best := int(analysis.maps.max((1, 2)).argmax())) not in chosen:
        chosen = (chosen - {min(chosen, key=lambda s: abs(s - best))}) | {best}
    tiles = [fit(step_picture(analysis, s), 1, 320) for s in sorted(chosen)]
    columns = -(-len(tiles) // 2) if len(tiles) > 1 else 1
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.concatenate(
        [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)], 0
    )


def overlay_frames(analysis: Analysis) -> Iterator[np.ndarray]:
    """Every frame of the video, at most MOST_WIDTH wide, with heatmap, boxes and a bar that shows its
    score."""
    steps, scores = analysis.steps(), analysis.frame_scores()
    with video.Reader(analysis.source) as reader:
        for index, image in tqdm(
            reader.frames(), total=analysis.frames, unit="frame", desc="overlay", disable=None, leave=False
        ):
            step = int(steps[min(index, len(steps) - 1)])
            image = fit(image)
            scale = _scale(image, analysis)
            if analysis.maps is not None:
                image = glow(image, analysis.maps[step])
            shown = [
                (n, found.boxes[step]) for n, found in enumerate(analysis.objects) if step in found.boxes
            ]
            image = outline(image, [box for _, box in shown], RED, scale, [str(n) for n, _ in shown])
            if scores is not None:
                length = int(scores[min(index, len(scores) - 1)] * image.shape[1])
                image[-4:] = 40
                image[-4:, :length] = RED
            yield image


def _feet(boxes: list) -> np.ndarray:
    """Middle of the lower edge of every box: where an object stands."""
    return np.array([((b[0] + b[2]) / 2, b[3]) for b in boxes], float).reshape(-1, 2)


def _line(image: np.ndarray, points: np.ndarray, colour) -> None:
    points = points.round().astype(np.int32)
    thick = max(2, image.shape[1] // 240)
    cv2.polylines(image, [points], False, colour, thick, cv2.LINE_AA)
    if len(points) > 1:
        cv2.arrowedLine(
            image, points[-2].tolist(), points[-1].tolist(), colour, thick, cv2.LINE_AA, tipLength=0.5
        )
    cv2.circle(image, points[0].tolist(), thick + 2, colour, -1, cv2.LINE_AA)


def trajectory(analysis: Analysis, truth: Sample | None = None, ghosts: int = 8) -> np.ndarray:
    """Accumulated frames (what moves, over the median background) with the path of every object: predicted
    red, true green."""
    chosen = np.linspace(0, len(analysis.jpegs) - 1, min(ghosts, len(analysis.jpegs))).round().astype(int)
    stack = np.stack([fit(analysis.image(i)) for i in chosen]).astype(np.float32)
    background = np.median(stack, 0)
    image = background * 0.7
    for frame in stack:
        moving = (np.abs(frame - background).max(-1) > 25)[..., None]
        image = np.where(moving, 0.35 * image + 0.65 * frame, image)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    scale = np.array(_scale(image, analysis))
    for track in (truth.tracks or ()) if truth else ():
        frames = sorted(f for f in track.anomalous if f in track.boxes)
        if frames:
            _line(image, _feet([track.boxes[f] for f in frames]) * scale, GREEN)
    longest = sorted(analysis.objects, key=lambda found: (-len(found.boxes), -found.score))[:3]
    for found in longest:
        _line(image, _feet([found.boxes[s] for s in sorted(found.boxes)]) * scale, RED)
    return image


def timeline(analysis: Analysis, truth: Sample | None = None, cursor: float | None = None) -> np.ndarray:
    """Frame scores over seconds, the threshold, predicted spans (red) and true ones (green); a line at
    `cursor` seconds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 2.2), dpi=180)  # words that can be read on a phone
    canvas = FigureCanvasAgg(figure)  # not pyplot, which keeps figures and is not for several threads
    axes = figure.subplots()
    seconds = analysis.clock.times
    scores = analysis.frame_scores()
    if scores is not None:
        axes.plot(seconds, scores, color="#3b6fd4", linewidth=1.5, label="frame score")
        axes.axhline(THRESHOLD, color="#888888", linewidth=0.8, linestyle=":")
    for spans, colour, low, name in (
        (analysis.spans, "#ff4646", 0.0, "answered"),
        ((truth.spans or ()) if truth else (), "#3cd25a", 0.05, "true"),
    ):
        for n, (start, end) in enumerate(spans):
            axes.axvspan(start, end, ymin=low, ymax=low + 0.05, color=colour, label=name if n == 0 else None)
    if cursor is not None:
        axes.axvline(cursor, color="#e0912f", linewidth=1.5)
    axes.set(xlim=(0, max(analysis.duration, 1e-3)), ylim=(0, 1.02), xlabel="seconds", ylabel="frame score")
    if axes.get_legend_handles_labels()[0]:
        # Above the plot: the curve may be anywhere in it.
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8, frameon=False)
    figure.tight_layout()
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
