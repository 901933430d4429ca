"""What is wrong with the values of a sample, in words: times, places, options. `Sample.problems` asks all of
these, and through it readers, `tvad data check`, the audit and whoever loads a data set."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from tvad.answer import LETTERS, TAGS, Answer, Box, Spans, parse
from tvad.answer.letters import same_text

ROUNDING = 1e-3  # seconds by which a span may end after its video
WHOLE = 1.0  # seconds: where times were annotated in whole ones, the last one may only have begun
# Pixels by which a track's box may reach over the picture: its edges count as 0..width or width - 1.
EDGE = 1.0
_MARK = re.compile(r"\(?([A-Z])[).:]\s+\S")  # "B. a dog": an option that brings its own letter
_LETTER = rf"(?:[{LETTERS}]|\((?i:[{LETTERS}])\))(?!\w)"  # a small one only in brackets: "a" is an article
_OTHERS = re.compile(
    rf"\b(?i:both|either|neither|options?|answers?|choices?)\s+{_LETTER}"
    rf"|(?<!\w){_LETTER}\s*(?:,|&|/|\b(?i:and|or)\b)\s*{_LETTER}"
    r"|\b(?i:(?:all|none|any|both|either|neither|each)\s+of\s+the\s+(?:above|below))\b"
)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def of_video(fps: Any, frames: Any, width: Any, height: Any, seconds: Any = None) -> list[str]:
    """What a video states of itself; None is unknown, and right."""
    found = []
    for name, value in (("fps", fps), ("seconds", seconds)):
        if value is not None and not (_finite(value) and value > 0):
            found.append(f"video.{name} is {value!r}, expected a positive number")
    for name, count in (("frames", frames), ("width", width), ("height", height)):
        if count is not None and not (_finite(count) and isinstance(count, int) and count > 0):
            found.append(f"video.{name} is {count!r}, expected a positive whole number")
    return found


def of_window(source: Any, offset: Any) -> list[str]:
    """What is wrong with where a window was cut from."""
    found = []
    if source is not None and not (isinstance(source, str) and source.strip()):
        found.append(f"video.source is {source!r}, expected the name of a video")
    if offset is not None and not (_finite(offset) and offset >= 0):
        found.append(f"video.offset is {offset!r}, expected seconds from 0 on")
    if offset is not None and source is None:
        found.append("video.offset without video.source: of which video?")
    return found


def of_times(times: Sequence[Any], count: int | None, seconds: float | None) -> list[str]:
    """Seconds at which each of `count` frames appears, in a video of `seconds`."""
    found = []
    if count is not None and len(times) != count:
        found.append(f"video.times has {len(times)} entries for {count} frames")
    if not times or not all(_finite(t) for t in times) or any(a > b for a, b in itertools.pairwise(times)):
        return [*found, "video.times must be seconds that never fall"]
    if seconds is not None and seconds < times[-1] - times[0]:
        found.append(f"video.seconds is {seconds:g}, the last frame appears at {times[-1]:g} s")
    return found


def of_spans(spans: Iterable[Sequence[float]], duration: float | None, slack: float = ROUNDING) -> list[str]:
    """Spans in seconds within a video of `duration` seconds, where that is known, and `slack` more."""
    found = []
    for start, end in spans:
        if not (_finite(start) and _finite(end) and 0 <= start < end):
            found.append(f"span [{start}, {end}] must satisfy 0 <= start < end")
        elif duration is not None and end > duration + slack:
            found.append(f"span [{start}, {end}] ends after the video's {duration:.2f} s")
    return found


def cut(start: float, end: float, duration: float) -> float:
    """The end of a span in seconds; the video's, where it was rounded to up to a second after that."""
    return duration if start < duration < end <= duration + WHOLE else end


def of_box(box: Sequence[Any]) -> str | None:
    """What is wrong with a box (x1, y1, x2, y2) wherever it lies."""
    if len(box) != 4 or not all(_finite(edge) for edge in box):
        return f"box {list(box)} is not four finite numbers"
    if box[2] < box[0] or box[3] < box[1]:
        return f"box {list(box)} is reversed"
    return None


def of_kind(kind: Any) -> str | None:
    """What is wrong with what a track is called."""
    return None if isinstance(kind, str) and kind.strip() else f"is of the kind {kind!r}, expected a word"


def of_track(
    boxes: Mapping[int, Sequence[Any]],
    anomalous: Sequence[int],
    frames: int | None,
    width: int | None,
    height: int | None,
) -> str | None:
    """The first thing that is wrong with a track: its boxes, frame -> inclusive pixels, and the frames in
    which it is anomalous."""
    for frame in (*boxes, *anomalous):
        if frame < 0 or (frames is not None and frame >= frames):
            return f"has frame {frame}, the video has {frames if frames is not None else 'none below 0'}"
    for frame, box in boxes.items():
        if fault := of_box(box):
            return f"frame {frame}: {fault}"
        for low, high, side in ((box[0], box[2], width), (box[1], box[3], height)):
            if low < -EDGE or (side is not None and high > side - 1 + EDGE):
                return (
                    f"frame {frame}: box {list(box)} reaches out of the picture of {width} x {height} pixels"
                )
    return None


def of_boxes(boxes: Iterable[tuple[Sequence[Any], Any]], duration: float | None) -> list[str]:
    """Boxes of a question, 0..1000 of width and height, each with its moment in seconds or None."""
    found = []
    for box, t in boxes:
        if fault := of_box(box):
            found.append(fault)
        elif min(box) < 0 or max(box) > 1000 or box[0] == box[2] or box[1] == box[3]:
            found.append(f"box {list(box)} is no part of 0..1000 of width and height")
        if t is not None and not (_finite(t) and t >= 0):
            found.append(f"box at {t!r}, expected seconds")
        elif t is not None and duration is not None and t > duration + ROUNDING:
            found.append(f"box at {t} s, the video has {duration:.2f} s")
    return found


SHORT = 100  # characters


@lru_cache(maxsize=4096)  # "<answer>A</answer>" is the reference to a quarter of all questions
def _strictly(written: str) -> Answer:
    return parse(written, "strict")


def of_writing(written: str, kind: str, spans: Spans | None, boxes: tuple[Box, ...]) -> list[str]:
    """What of a reference is lost when it is read as rewards read it: tags inside its words, a box or a span
    too thin for the protocol's digits."""
    tags = TAGS[kind]
    read = _strictly(written) if len(written) <= SHORT else parse(written, "strict")
    meant = spans if "glue" in tags else None, boxes if "box" in tags else ()
    # "none" and None are themselves; of several spans or boxes each must be there.
    same = [
        len(a) == len(b) if isinstance(a, tuple) and isinstance(b, tuple) else a == b
        for a, b in zip((read.spans, read.boxes), meant, strict=True)
    ]
    wrong = [defect for defect in read.defects if defect != "missing_think"]  # a rationale may be missing
    if all(same) and not wrong:
        return []
    why = ", ".join(wrong) or "a span or box is smaller than its digits show"
    return [f"the reference {written[-200:]!r} cannot be read back: {why}"]


def names_others(option: str) -> bool:
    """Whether an option speaks of other options ("Both A and B", "None of the above"): it holds only in the
    order in which they were written."""
    return _OTHERS.search(option) is not None


def of_options(options: Sequence[Any], answer: Any) -> list[str]:
    """Why a question with these lettered options cannot be asked or scored."""
    count = len(options)
    if count > len(LETTERS):
        return [f"{count} options, at most {len(LETTERS)}"]
    letters = LETTERS[:count]
    found = []
    for letter, option in zip(letters, options, strict=True):
        if not isinstance(option, str) or not option.strip(" ."):
            found.append(f"option {letter} is {option!r}, expected words")
    if answer not in tuple(letters):
        found.append(f"answer {answer!r} is none of the options' letters {letters or '(no options)'}")
    return found


def doubts_of_options(options: Sequence[str]) -> list[str]:
    """Why an answer to a question with these lettered options, which `of_options` finds nothing wrong with,
    may not tell what was meant: texts that are the same, or letters of others."""
    letters = LETTERS[: len(options)]
    texts = [same_text(option) for option in options]
    found = ["there is one option, no choice"] if len(options) == 1 else []
    for n, (letter, text) in enumerate(zip(letters, texts, strict=True)):
        if (first := texts.index(text)) < n:
            found.append(f"options {letters[first]} and {letter} are the same: {text[:60]!r}")
        bare = text.strip(" ().:").upper()
        if len(bare) == 1 and bare in letters and bare != letter:
            found.append(f"option {letter} is {options[n][:60]!r}, the letter of another option")
    marks = {
        letter: match.group(1)
        for letter, option in zip(letters, options, strict=True)
        if (match := _MARK.match(option.strip()))
    }
    # One mark may be somebody's initial; several are letters, which must then be their own.
    if len(marks) > 1 and (moved := [letter for letter, mark in marks.items() if mark != letter]):
        found.append(f"option {moved[0]} begins with the letter {marks[moved[0]]}")
    return found
