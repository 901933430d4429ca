"""A page of a timeline: the video, small, its scores, what is flagged; a click on a span shows it. It stands
alone and fetches nothing, so the video is in it, re-encoded; of one that is too long there are pictures."""

import base64
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from tvad.common.files import write_whole
from tvad.data import video
from tvad.pages import Section, render, settings
from tvad.pictures import RED, data_url, fit, outline
from tvad.use.timeline import PAGE

MOST_BYTES = 20_000_000  # of the video as it stands in the page
MOST_FRAMES = 7200  # of the preview: an hour at 2 a second
WIDTHS = ((320, 30), (160, 38))  # pixels and H.264's constant rate factor, tried in turn
MOST_PICTURES = 200  # of spans
QUALITY = 80  # of a JPEG
WIDE, HIGH = 1000, 160  # the plot, in its own units
POINTS = 2000  # that a plot draws; of more the highest of each part


def _preview(source: str, seconds: float, rate: float) -> tuple[Markup | None, float]:
    """The video as an address that holds it, None where it is too large, and its frames a second."""
    rate = min(rate, MOST_FRAMES / seconds)
    for width, crf in WIDTHS:
        with tempfile.TemporaryDirectory() as folder, video.Reader(source) as reader:
            file = Path(folder, "preview.mp4")
            video.write(file, (fit(image, 1, width) for _, image in reader.frames(rate)), rate, crf)
            if file.stat().st_size * 4 / 3 <= MOST_BYTES:
                data = base64.b64encode(file.read_bytes()).decode()
                return Markup(f"data:video/mp4;base64,{data}"), rate
    return None, rate


def _pictures(source: str, spans: list[dict[str, Any]], rate: float) -> dict[int, Markup]:
    """Number of a span -> the frame at its peak with the boxes of that step."""
    due = sorted((span["peak_at"], n) for n, span in enumerate(spans[:MOST_PICTURES]))
    found: dict[int, Markup] = {}
    if not due:
        return found
    with video.Reader(source) as reader:
        for _, seconds, _, image in reader.sampled(rate):
            while due and seconds >= due[0][0] - 1e-6:
                _, n = due.pop(0)
                found[n] = Markup(data_url(_boxed(image, spans[n]), QUALITY))
            if not due:
                break
    return found


def _boxed(image: np.ndarray, span: dict[str, Any]) -> np.ndarray:
    tile = np.ascontiguousarray(fit(image))
    scale = tile.shape[1] / image.shape[1], tile.shape[0] / image.shape[0]
    if span["boxes"]:
        nearest = min((b["t"] for b in span["boxes"]), key=lambda t: abs(t - span["peak_at"]))
        tile = outline(tile, [b["box"] for b in span["boxes"] if b["t"] == nearest], RED, scale)
    return tile


def _points(steps: dict[str, list[float]], seconds: float, top: float) -> str:
    """The scores as an SVG path of steps."""
    edges, scores = np.array([*steps["from"], seconds]), np.array(steps["score"])
    if len(scores) > POINTS:
        parts = np.linspace(0, len(scores), POINTS + 1).astype(int)
        scores, edges = np.maximum.reduceat(scores, parts[:-1]), edges[parts]
    x, y = edges / seconds * WIDE, HIGH - np.clip(scores / top, 0, 1) * HIGH
    pairs = (f"L{a:.1f} {v:.1f}L{b:.1f} {v:.1f}" for a, b, v in zip(x[:-1], x[1:], y, strict=True))
    return f"M0 {HIGH}" + "".join(pairs) + f"L{WIDE} {HIGH}Z"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}:{minutes:02d}" if hours else f"{minutes}") + f":{rest:04.1f}"


def _card(n: int, span: dict[str, Any], picture: Markup | None, seconds: float) -> dict[str, Any]:
    turns = (span["explanation"] or {}).get("turns", [])
    return {
        "number": n + 1,
        "start": span["start"],
        "when": f"{_clock(span['start'])} to {_clock(span['end'])}",
        "peak": span["peak"],
        "objects": len({box["object"] for box in span["boxes"]}),
        "picture": picture,
        "turns": [(turn["question"], turn.get("reasoning"), turn["response"]) for turn in turns],
        "x": span["start"] / seconds * WIDE,
        "width": (span["end"] - span["start"]) / seconds * WIDE,
    }


def page(timeline: dict[str, Any], source: str) -> str:
    """The page of a timeline about a video. Raises InputError where the video cannot be read."""
    seconds, plan = timeline["seconds"], timeline["settings"]
    held, rate = _preview(source, seconds, plan["rate"])
    pictures = _pictures(source, timeline["spans"], plan["rate"])
    top = max([1.0, *timeline["steps"]["score"]])
    cards = [_card(n, span, pictures.get(n), seconds) for n, span in enumerate(timeline["spans"])]
    values = {
        "video": held,
        "shown": f"{rate:g} frames a second, without sound",
        "seconds": seconds,
        "path": Markup(_points(timeline["steps"], seconds, top)),
        "wide": WIDE,
        "high": HIGH,
        "levels": [("begins", HIGH - plan["on"] / top * HIGH), ("ends", HIGH - plan["off"] / top * HIGH)],
        "cards": cards,
        "unread": timeline["unread"],
        "notes": timeline["notes"],
    }
    count = f"{len(cards)} span{'s' * (len(cards) != 1)}"
    subtitle = f"{_clock(seconds)} of video, {len(timeline['subclips'])} sub-clips, {count}"
    return render(
        f"Timeline of {Path(timeline['video']).name}",
        f"{subtitle} flagged by {Path(timeline['model']).name}",
        [
            Section("What is flagged", "timeline.html", values),
            settings("Settings", plan),
            settings("How scores came about", timeline["conventions"]),
            settings("Versions", timeline["versions"]),
        ],
    )


def write(timeline: dict[str, Any], source: str, out: str) -> Path:
    """PAGE below `out`, whole or absent."""
    return write_whole(Path(out, PAGE), page(timeline, source))
