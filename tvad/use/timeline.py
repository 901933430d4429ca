"""A timeline of a long video: overlapping sub-clips, streamed, a score for each and for each temporal step,
smoothed, flagged by two thresholds; boxes and the model's words for what is flagged.

What was scored is kept in `progress.jsonl` beside the result, a line a batch: a killed run goes on, and other
thresholds, smoothing or words need no scoring. In memory are the frames of a batch of sub-clips, and a few
numbers a step."""

import hashlib
import os
import sys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tvad.common.errors import InputError
from tvad.common.files import file_hash, json_text, made, parse_json, whole_lines, write_whole
from tvad.common.hub import content
from tvad.common.lock import locked
from tvad.common.places import public
from tvad.data import video
from tvad.data.timeline import FORMAT, RESULT
from tvad.data.video import Clock, Frames
from tvad.detections import link
from tvad.scores import PER_STEP, RULES, By, Episode, Rule, cells, flagged, frames_in, smoothed
from tvad.use.infer import Dialogue, batched, check_length, dialogue_json
from tvad.use.subclips import Step, Steps, SubClip, look, strongest_boxes, way

PAGE, PROGRESS = "timeline.html", "progress.jsonl"
PACKAGES = ("torch", "transformers", "av", "numpy")
KEYS = {"classifier": "probability"}  # what a sub-clip's number is called, where not judged


@dataclass(frozen=True)
class Plan:
    """How a video is looked at: `rate` frames a second, sub-clips of `window` frames begun every `stride`
    frames, scored by one of RULES, `batch` at a time; and what is made of the scores: `smooth`, standard
    deviation in seconds, and `rule`; explain: whether the model is asked about what is flagged."""

    rate: float
    window: int
    stride: int
    by: By | None = None
    batch: int = 8
    smooth: float = 0.0
    rule: Rule = field(default_factory=Rule)
    explain: bool = True

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"--batch must be at least 1, found {self.batch}")
        if not 0 <= self.smooth < float("inf"):
            raise InputError(f"--smooth must be 0 or more seconds, found {self.smooth:g}")


def frames_of(seconds: float | None, rate: float, usual: int, what: str) -> int:
    """So many seconds as whole temporal steps, in frames; `usual` where None. Raises InputError for less than
    a step."""
    if seconds is None:
        return usual
    if not (count := frames_in(seconds, rate)):
        raise InputError(
            f"--{what} {seconds:g}: expected at least {PER_STEP / rate:g} s, a temporal step of {PER_STEP}"
            " frames"
        )
    return count


def plan_of(rate: float, most: int, window: float | None, stride: float | None, **others: Any) -> "Plan":
    """A plan whose sub-clips last `window` seconds (by default `most` frames, as whole steps) every `stride`
    seconds (by default half of them). Raises InputError for a stride that leaves frames out."""
    size = frames_of(window, rate, max(PER_STEP, most // PER_STEP * PER_STEP), "window")
    step = frames_of(stride, rate, max(PER_STEP, size // 2 // PER_STEP * PER_STEP), "stride")
    if step > size:
        raise InputError(f"--stride {step / rate:g} s is longer than the window of {size / rate:g} s")
    return Plan(rate, size, step, **others)


@dataclass
class Scored:
    """What a run has scored: sub-clips and steps in order, and what of the last ones is not final."""

    subclips: list[SubClip] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    whole: bool = False
    words: dict[int, dict] = field(default_factory=dict)  # number of a sub-clip -> what was said of it


class Progress:
    """The file of what was scored. Raises InputError where it is of another video, model or plan."""

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.path = made(folder) / PROGRESS
        self.scored = Scored()
        if not self.path.exists():
            write_whole(self.path, json_text(identity, PROGRESS) + "\n")
            return
        try:
            first, *lines = [parse_json(line) for line in whole_lines(self.path).splitlines()] or [{}]
            for line in lines:
                self._take(line)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{self.path}: damaged ({error}); remove it to begin anew") from error
        wrong = [k for k in identity if not isinstance(first, dict) or first.get(k) != identity[k]]
        if wrong:
            raise InputError(
                f"{self.path}: was begun with another {', '.join(wrong)}; choose another --out, or remove it"
            )

    def _take(self, line: dict[str, Any]) -> None:
        found = self.scored
        if "words" in line:
            found.words[line["of"]] = line["words"]
            return
        found.subclips += [SubClip(*row) for row in line["subclips"]]
        found.steps += [
            Step(c, h, j, np.array(boxes, float).reshape(-1, 5)) for c, h, j, boxes in line["steps"]
        ]
        found.pending, found.size, found.whole = line["pending"], tuple(line["size"]), line["whole"]

    def add(self, line: dict[str, Any]) -> None:
        """A line, on disk when this returns."""
        text = json_text(line, PROGRESS)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(parse_json(text))


def score(model, processor, source: str, plan: Plan, progress: Progress) -> tuple[Clock, tuple[int, int]]:
    """Score the sub-clips that are not yet; the video's clock and (height, width). Raises InputError for a
    video that cannot be read to its end."""
    found, by = progress.scored, way(model, plan.by)
    if found.whole:
        clock, height, width = video.inspect(source)
        return clock, (height, width)
    steps, done = Steps.again(found.pending, found.size), len(found.subclips)
    if done:
        print(f"{done} sub-clips are scored already: it goes on behind them", file=sys.stderr)
    bar = tqdm(unit="sub-clip", disable=None, leave=False, initial=done, desc=Path(source).name)
    seen: Frames | None = None
    left = islice(video.windows(source, plan.rate, plan.window, plan.stride), done, None)
    for clips in batched(_checked(left, plan.rate if not done else None), plan.batch):
        scored, heats = look(model, processor, clips, by)
        for n, (clip, one) in enumerate(zip(clips, scored, strict=True)):
            steps.add(clip, None if heats is None else heats[n], one.judged)
        seen = clips[-1]
        final = steps.final(float(seen.moments[0]))
        progress.add(_line(scored, final, steps.kept(), seen.images.shape[1:3], False))
        bar.update(len(clips))
    bar.close()
    if seen is None:  # all sub-clips were scored when it was killed
        clock, height, width = video.inspect(source)
    else:
        clock, (height, width) = seen.clock, seen.images.shape[1:3]
    progress.add(_line([], steps.final(), [], (height, width), True))
    return clock, (height, width)


def _checked(clips: Iterator[Frames], rate: float | None) -> Iterator[Frames]:
    for clip in clips:
        if rate is not None:
            check_length(clip, rate)
            rate = None
        yield clip


def _line(subclips: list[SubClip], steps: list[Step], pending: list, size, whole: bool) -> dict[str, Any]:
    return {
        "subclips": [[s.start, s.end, s.heat, s.judged] for s in subclips],
        "steps": [[s.centre, s.heat, s.judgement, strongest_boxes(s.boxes).tolist()] for s in steps],
        "pending": pending,
        "size": list(size),
        "whole": whole,
    }


def explain(model, processor, source: str, plan: Plan, progress: Progress, numbers: list[int]) -> None:
    """Hold the model's dialogue about the sub-clips of these numbers, one after the other; those that it was
    held about are kept."""
    asked = {n for n in numbers if n not in progress.scored.words}
    if not asked:
        return
    clips = islice(video.windows(source, plan.rate, plan.window, plan.stride), max(asked) + 1)
    for n, clip in enumerate(tqdm(clips, unit="sub-clip", desc="explain", disable=None, leave=False)):
        if n in asked:
            dialogue = Dialogue(model, processor, clip)
            for _ in dialogue.standard():
                pass
            progress.add({"of": n, "words": dialogue_json(dialogue)})


def strongest(subclips: list[SubClip], episode: Episode, by: By) -> int:
    """The number of the sub-clip that shows an episode best: of those that see its peak the highest score, of
    equals the one whose middle is nearest to the peak; where none does, the last that begins before it.
    subclips: in order, neither beginnings nor ends fall."""
    last = bisect_right(subclips, episode.peak_at + 1e-6, key=lambda one: one.start)
    first = last - 1
    while first > 0 and subclips[first - 1].end > episode.peak_at:
        first -= 1

    def key(n: int) -> tuple[float, float]:
        one = subclips[n]
        value = Step(0.0, one.heat, one.judged, np.empty((0, 5))).score(by)
        return value, -abs((one.start + one.end) / 2 - episode.peak_at)

    return max(range(first, last), key=key)


def seen(source: str) -> str:
    """Hash of a video's file, or of its pictures and of when each is shown."""
    pictures = video.Pictures.named(source)
    if pictures is None:
        return file_hash(source)
    told = [*map(file_hash, pictures.files), *pictures.clock.times.tolist(), pictures.clock.end]
    return hashlib.sha256(json_text(told, source).encode()).hexdigest()


def run(model, processor, name: str, source: str, plan: Plan, out: str, pixels: dict[str, int]) -> dict:
    """Score, flag, explain; writes RESULT below `out` and returns it. name: the checkpoint's folder. Raises
    InputError."""
    with locked(out):
        by = way(model, plan.by)
        identity = FORMAT.stamp() | {
            "video": seen(source),
            "model": content(name),
            "sampling": {"rate": plan.rate, "window": plan.window, "stride": plan.stride, **pixels},
            "by": by,
        }
        progress = Progress(Path(out), identity)
        clock, size = score(model, processor, source, plan, progress)
        found = progress.scored
        centres = np.array([step.centre for step in found.steps])
        raw = np.array([step.score(by) for step in found.steps])
        scores, edges = smoothed(raw, centres, plan.smooth), cells(centres, clock.end)
        episodes = flagged(edges, scores, plan.rule)
        shown = [strongest(found.subclips, episode, by) for episode in episodes]
        if plan.explain:
            explain(model, processor, source, plan, progress, shown)
        result = {
            **FORMAT.stamp(),
            "video": public(video.name_of(source)),
            "fps": clock.fps,
            "frames": len(clock),
            "seconds": round(clock.end, 3),
            "width": size[1],
            "height": size[0],
            "notes": list(clock.notes),
            "model": public(name),
            "settings": _settings(plan, by, pixels),
            "conventions": _conventions(plan, by),
            "versions": {"tvad": version("tvad"), **{p: version(p) for p in PACKAGES}},
            "subclips": [_subclip(one, by, clock.end) for one in found.subclips],
            "unread": 0 if by in ("heat", "classifier") else sum(s.judged is None for s in found.subclips),
            "steps": {
                "from": [round(float(t), 4) for t in edges[:-1]],
                "raw": [round(float(s), 4) for s in raw],
                "score": [round(float(s), 4) for s in scores],
            },
            "spans": [
                _span(episode, found.steps, edges, found.words.get(n) if plan.explain else None)
                for episode, n in zip(episodes, shown, strict=True)
            ],
        }
        write_whole(Path(out, RESULT), json_text(result, RESULT, indent=1, ensure_ascii=False) + "\n")
        return result


def _subclip(one: SubClip, by: By, end: float) -> dict[str, Any]:
    row: dict[str, Any] = {"start": round(one.start, 3), "end": round(min(one.end, end), 3)}
    if one.heat is not None:
        row["heat"] = round(one.heat, 4)
    return row if by == "heat" else row | {KEYS.get(by, "judged"): one.judged}


def _settings(plan: Plan, by: By, pixels: dict[str, int]) -> dict[str, Any]:
    return {
        "rate": plan.rate,
        "window_seconds": plan.window / plan.rate,
        "stride_seconds": plan.stride / plan.rate,
        "window_frames": plan.window,
        "stride_frames": plan.stride,
        "by": by,
        "smooth_seconds": plan.smooth,
        "on": plan.rule.on,
        "off": plan.rule.low,
        "least_seconds": plan.rule.least,
        "explain": plan.explain,
        **pixels,
    }


def _conventions(plan: Plan, by: By) -> dict[str, str]:
    """How the numbers came about, in words: published figures differ by it."""
    what, on, off = "score" if by in ("judgement", "classifier") else "map", plan.rule.on, plan.rule.low
    return {
        "step": f"{PER_STEP} frames sampled at {plan.rate:g} a second; a step's {what} is the mean over the"
        " sub-clips that saw it",
        "raw": RULES[by],
        "score": f"raw, by a Gaussian of {plan.smooth:g} s over time, cut at three of them"
        if plan.smooth
        else "raw, not smoothed",
        "frames": "a frame has the score of the step whose centre is nearest in time: steps.from says from"
        " which second on each holds, the last until the end",
        "spans": f"from the first step of at least {on:g} to the last before one below {off:g}, lasting"
        f" {plan.rule.least:g} s or more",
        "boxes": "inclusive pixels of the video; connected parts of a step's map of at least 0.5, linked over"
        " steps",
    }


def _span(episode: Episode, steps: list[Step], edges: np.ndarray, words: dict | None) -> dict[str, Any]:
    begin, end = np.searchsorted(edges[:-1], (episode.start - 1e-6, episode.end - 1e-6)).tolist()
    inside = range(begin, end)
    objects = link([steps[n].boxes for n in inside])
    boxes = [
        {
            "t": round(steps[inside[k]].centre, 3),
            "object": number,
            "box": [int(c) for c in box[:4]],
            "score": round(float(box[4]), 4),
        }
        for number, path in enumerate(objects)
        for k, box in path.boxes.items()
    ]
    return {
        "start": round(episode.start, 3),
        "end": round(episode.end, 3),
        "peak": round(episode.peak, 4),
        "peak_at": round(episode.peak_at, 3),
        "boxes": sorted(boxes, key=lambda b: (b["t"], b["object"])),
        "explanation": words,
    }
