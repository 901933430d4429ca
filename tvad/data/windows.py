"""Long videos cut into overlapping windows at their own frame rate, with masks, tracks and spans carried
over. A window states the video that it is of and where it begins, so that no split parts the video."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tvad.common.errors import InputError
from tvad.common.quiet import note
from tvad.data import captions, masks, video
from tvad.data.build import (
    build,
    check_stems,
    class_questions,
    classes_of,
    grounding_questions,
    in_picture,
    leading,
    link_all,
)
from tvad.data.check import Problem, opened
from tvad.data.dialogue import turns
from tvad.data.folder import load
from tvad.data.recipe import set_of
from tvad.data.reclip import anomalous_frames, place_of
from tvad.data.sample import Sample, Track, Video, file_stem
from tvad.data.shards import ids_of
from tvad.data.video import Clock

ROUNDING = 1e-6  # seconds
LEAST = 0.01  # seconds from one window to the next
MOST = 100  # windows that show one frame: each is encoded by itself
MADE = ("judgement", "temporal", "spatial", "classification")  # questions that a window is asked anew


@dataclass(frozen=True)
class Window:
    """Frames `first` to before `last` of a video."""

    first: int
    last: int


def cuts(clock: Clock, seconds: float, stride: float) -> list[Window]:
    """Windows of so many seconds every `stride` seconds; the last one ends with the video and overlaps more.
    A video that is not longer is one window."""
    last_start = max(0.0, clock.end - seconds)
    starts = [*np.arange(0.0, last_start - ROUNDING, stride).tolist(), last_start]
    found: list[Window] = []
    for start in starts:
        first, last = np.searchsorted(clock.times, (start - ROUNDING, start + seconds - ROUNDING)).tolist()
        # Where frames stay longer than a stride, two windows may show the same ones.
        if last > first and (not found or (first, last) != (found[-1].first, found[-1].last)):
            found.append(Window(first, last))
    return found


def within(clock: Clock, window: Window) -> Clock:
    """The clock of a window: its first frame is at 0."""
    if clock.rate is not None:
        return Clock.constant(window.last - window.first, clock.rate)
    times = clock.times[window.first : window.last]
    return Clock(times - times[0], _end(clock, window) - float(times[0]))


def _end(clock: Clock, window: Window) -> float:
    """Seconds of the video at which a window's last frame goes."""
    return float(clock.times[window.last]) if window.last < len(clock) else clock.end


def _spans(sample: Sample, start: float, end: float) -> list[tuple[tuple[float, float], str | None]]:
    """The parts of a video's spans in a window, from its beginning on, with their classes."""
    classes = sample.span_categories or (None,) * len(sample.spans or ())
    return [
        ((max(a, start) - start, min(b, end) - start), name)
        for (a, b), name in zip(sample.spans or (), classes, strict=True)
        if min(b, end) - max(a, start) > ROUNDING
    ]


def _tracks(tracks: tuple[Track, ...], window: Window) -> Iterator[Track]:
    for track in tracks:
        boxes = {
            frame - window.first: box
            for frame, box in track.boxes.items()
            if window.first <= frame < window.last
        }
        if boxes:
            wrong = tuple(f - window.first for f in track.anomalous if window.first <= f < window.last)
            yield replace(track, boxes=boxes, anomalous=wrong)


def _classes(
    sample: Sample, told: list[tuple[tuple[float, float], str | None]], tracks: tuple[Track, ...]
) -> tuple[str, ...]:
    """Classes of what a window shows, the one that is shown longest first: of its spans or its tracks where
    these name them, else the video's where it is one; of several nobody knows which it shows."""
    return (
        leading((name, end - start) for (start, end), name in told if name is not None)
        or tuple(name for name in classes_of(tracks) if name in sample.categories)
        or (sample.categories if len(sample.categories) == 1 else ())
    )


def _write(
    sample: Sample, pictures: bool, clock: Clock, windows: list[Window], names: list[str], out: Path
) -> None:
    """The windows' frames: pictures are linked, a file is decoded once and each window encoded as it
    passes."""
    if pictures:
        files = sample.files()
        for window, name in zip(windows, names, strict=True):
            shown = enumerate(files[window.first : window.last])
            link_all([(file, f"{n:06d}{file.suffix.lower()}") for n, file in shown], out / "videos" / name)
        return
    open_: dict[int, tuple[ExitStack, video.Writer]] = {}
    with ExitStack() as every, video.Reader(sample.clip()) as reader:
        for frame, image in reader.frames():
            for n, window in enumerate(windows):
                if window.first == frame:
                    stack = every.enter_context(ExitStack())
                    writer = video.Writer(out / f"videos/{names[n]}.mp4", within(clock, window))
                    open_[n] = stack, stack.enter_context(writer)
                if window.first <= frame < window.last:
                    open_[n][1].add(image)
                if frame == window.last - 1:
                    open_.pop(n)[0].close()


def windows_of(sample: Sample, out: Path, seconds: float, stride: float) -> list[Sample]:
    """The windows of one video, written below `out`. Raises InputError where it is not known which of its
    frames are anomalous, and for a sample that its files contradict."""
    clock, height, width, lit = opened(sample)
    windows = cuts(clock, seconds, stride)
    names = [f"{file_stem(sample.id)}_w{n:04d}" for n in range(len(windows))]
    said = captions.captions_of(sample.description)
    wrong = anomalous_frames(sample, clock, lit)
    pictures = sample.video.pictures is not None or sample.path(sample.video.path).is_dir()
    _write(sample, pictures, clock, windows, names, out)
    size = (height, width) if pictures else (height - height % 2, width - width % 2)
    made = []
    for window, name in zip(windows, names, strict=True):
        start, end, own = float(clock.times[window.first]), _end(clock, window), within(clock, window)
        tracks = sample.tracks
        if tracks is not None:
            tracks = tuple(in_picture(_tracks(tracks, window), size[1], size[0]))
        mask = None
        if lit is not None:
            mask = f"masks/{name}.npz"
            masks.write(out / mask, (lit[f][: size[0], : size[1]] for f in range(window.first, window.last)))
        told = _spans(sample, start, end)
        source, offset = place_of(sample, start)
        shown = {f - window.first for f in wrong if window.first <= f < window.last}
        # What is lit outside of the spans that are stated is anomalous all the same.
        spans = tuple(span for span, _ in told) or own.spans(shown)
        anomalous = bool(spans)
        classes = _classes(sample, told, tracks or ()) if anomalous else ()
        asked = any(q.kind == "classification" for q in sample.questions)
        window_sample = replace(
            sample,
            id=name,
            video=Video(
                f"videos/{name}" + ("" if pictures else ".mp4"),
                own.fps,
                len(own),
                size[1],
                size[0],
                seconds=None if own.rate is not None else round(own.end, 6),
                times=None if own.rate is not None else tuple(round(float(t), 6) for t in own.times),
                source=source,
                offset=offset,
            ),
            label="anomalous" if anomalous else "normal",
            categories=classes,
            spans=spans,
            span_categories=tuple(str(c) for _, c in told)
            if sample.span_categories and (told or not spans)
            else None,
            tracks=tracks,
            mask=mask,
            questions=(
                *grounding_questions(spans, tracks or (), own, size[1], size[0]),
                *class_questions(classes if asked else ()),
            ),
            # Captions of its seconds; other words are of the whole video.
            description=captions.told(captions.within(said, start, end)),
            rationale=None,
            key_object=None,
            dialogue=None,
            root="",
        )
        made.append(replace(window_sample, dialogue=turns(window_sample, "protocol")))
    return made


def cut(
    source: str | os.PathLike, out: str | os.PathLike, seconds: float, stride: float
) -> tuple[Sequence[Sample], list[Problem]]:
    """A data set cut into windows, as the data set `out`: its samples, and the videos left out with their
    reasons. A killed run continues. Raises InputError."""
    if not (0 < stride <= seconds < float("inf")):
        raise InputError(f"stride must be positive and at most the windows' {seconds:g} s, found {stride:g}")
    if stride < max(LEAST, seconds / MOST):
        raise InputError(
            f"stride must be at least {LEAST:g} s and a {MOST}th of the windows' {seconds:g} s, found"
            f" {stride:g}"
        )
    samples = load(source)
    places = {name: n for n, name in enumerate(ids_of(samples))}
    check_stems(places)
    lost: dict[str, int] = {}

    def taken(name: str) -> Sample:
        sample = samples[places[name]]
        lost[name] = sum(q.kind not in MADE for q in sample.questions)
        return sample

    def make(name: str, where: Path) -> list[Sample]:
        return windows_of(taken(name), where, seconds, stride)

    options = {"source": set_of(source), "seconds": seconds, "stride": stride}
    made = build(out, places, make, "windows", options)
    for name in places.keys() - lost.keys():  # a killed run has cut them
        taken(name)
    if count := sum(lost.values()):
        note(f"windows: {count} questions are of whole videos (choices, open ones) and are left out")
    return made
