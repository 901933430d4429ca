"""When each frame of a video is shown: the stream's own time stamps, counted from the first shown frame's,
and which frame stands for a moment. Whatever needs a frame's time, or a moment's frame, asks here."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tvad.common.errors import InputError

LONGEST_PAUSE = 86_400.0  # seconds: beyond it a time stamp is broken, no frame is on screen for days
NONE = -(1 << 62)  # no time stamp
MOST_MOMENTS = 10_000_000  # of one video: at 2 frames a second two months


def sample_indices(total: int, fps: float, rate: float | None, max_frames: int | None = None) -> np.ndarray:
    """Indices of frames at `rate` frames a second out of `total` at a constant `fps`; at most `max_frames`,
    then evenly spread.

    rate None keeps every frame. The first frame is always taken.
    """
    if total < 1 or fps <= 0:
        raise ValueError(f"need at least one frame and a positive rate, got {total} frames at {fps} fps")
    if rate is None or rate >= fps:
        return _spread(total, max_frames)
    # The nearest frames to 0, 1/rate, 2/rate, …; 1e-6 keeps rounding from losing a moment that falls on the
    # last frame.
    count = max(1, int(np.floor((total - 1) / fps * rate + 1e-6)) + 1)
    return np.minimum(np.round(_spread(count, max_frames) * fps / rate), total - 1).astype(int)


def _spread(count: int, most: int | None) -> np.ndarray:
    """0 .. count - 1, or `most` of them evenly spread."""
    if most is None or count <= most:
        return np.arange(count)
    return np.round(np.linspace(0, count - 1, most)).astype(int)


@dataclass(frozen=True, eq=False)
class Clock:
    """times (N,): seconds at which each frame appears, the first at 0, never falling; `end`: seconds at which
    the last one goes; `rate`: frames a second where that is constant (frame f is then at f / rate), else
    None; `notes`: what had to be assumed, in words."""

    times: np.ndarray
    end: float
    rate: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def constant(cls, total: int, rate: float, notes: tuple[str, ...] = ()) -> "Clock":
        """`total` frames at `rate` a second."""
        return cls(np.arange(total) / rate, total / rate, rate, notes)

    @classmethod
    def of(
        cls,
        ticks: Iterable[int],
        base: Fraction,
        rates: Iterable[float] = (),
        last: int = 0,
        notes: tuple[str, ...] = (),
    ) -> "Clock":
        """From the shown frames' time stamps, which never fall, in ticks of `base` seconds. rates: frames a
        second that the file states, of which one that all stamps keep makes the clock constant; last: ticks
        of the last frame, where they are known. Raises InputError for a pause that no video has."""
        stamps = np.fromiter(ticks, np.int64)
        stamps = stamps - stamps[0]
        gaps = np.diff(stamps)
        if len(gaps) and (longest := float(gaps.max() * base)) > LONGEST_PAUSE:
            raise InputError(
                f"frame {int(gaps.argmax())} stays for {longest:.0f} s: its time stamps are broken"
            )
        tick = float(base)
        times = stamps * base.numerator / base.denominator
        moves = gaps[gaps > 0]
        usual = int(np.median(moves)) if len(moves) else last
        # What the file says of its last frame may be in the order of decoding (mp4): where the one before it
        # stays longer, so does the last.
        held = max(last, int(gaps[-1]) if len(gaps) else 0, 1)
        count = np.arange(len(stamps))
        for rate in (*rates, *([1 / (usual * tick)] if usual else ())):
            # A container rounds times to its ticks, no further; a tick that is no small part of a frame is
            # not rounded to.
            slack = min(1.01 * tick, 0.25 / rate)
            if (np.abs(times - count / rate) <= slack).all() and held * tick < 1.5 / rate:
                return cls.constant(len(stamps), rate, notes)
        return cls(times, float((stamps[-1] + held) * base), None, notes)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def fps(self) -> float:
        """Frames a second: the constant rate, else the mean over the video."""
        return self.rate if self.rate is not None else len(self.times) / self.end

    @property
    def pause(self) -> float:
        """Seconds from one frame to the next where they come fastest: of twenty pauses the shortest, since
        single stamps may be off."""
        moves = np.diff(self.times)
        moves = moves[moves > 0]
        if self.rate is not None or not len(moves):
            return 1 / self.fps
        return float(np.percentile(moves, 5, method="lower"))

    @property
    def longest(self) -> float:
        """Seconds that a frame stays at most, the last one aside."""
        return float(np.diff(self.times).max()) if len(self.times) > 1 else self.pause

    def step(self, rate: float) -> float:
        """Seconds between the moments that `rate` a second asks for: never less than the shortest pause."""
        return max(1 / rate, self.pause)

    def limited(self, rate: float) -> float:
        """Frames a second that `rate` a second gives: never more than the video has where its frames come
        fastest."""
        own = self.rate if self.rate is not None else 1 / self.pause
        return min(rate, own)

    @property
    def reach(self) -> float:
        """Seconds of the last moment that is asked for: a last frame that stays is asked for again."""
        return max(float(self.times[-1]), self.end - self.pause)

    def count(self, rate: float) -> int:
        """Moments that `rate` a second asks for. Raises InputError for more than can be."""
        found = int(np.floor(self.reach / self.step(rate) + 1e-6)) + 1
        if found > MOST_MOMENTS:
            raise InputError(f"{self.end:.0f} s at {rate:g} frames a second are {found:,d} frames")
        return found

    def taken(self, rate: float | None, max_frames: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(indices (T,), moments (T,) seconds) of the frames at `rate` a second, at most `max_frames`, then
        evenly spread; rate None is every frame.

        The frame of each moment 0, 1/rate, 2/rate, … is the nearest, if it is within half a pause, else the
        one on screen: one that stays longer than 1/rate is taken again. A rate above the video's own, where
        its frames come fastest, is its own."""
        if self.rate is not None or rate is None:
            indices = (
                _spread(len(self), max_frames)
                if self.rate is None
                else sample_indices(len(self), self.rate, rate, max_frames)
            )
            return indices, self.times[indices]
        step, count = self.step(rate), self.count(rate)
        moments = _spread(count, max_frames) * step
        before = np.searchsorted(self.times, moments, side="right") - 1
        after = np.minimum(before + 1, len(self) - 1)
        return np.where(self.nearer(moments, before, after), after, before), moments

    def nearer(self, moments: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(T,) bool: whether the next frame stands for a moment, not the one on screen."""
        ahead = self.times[after] - moments
        return (ahead <= self.pause / 2 + 1e-9) & (ahead < moments - self.times[before])

    def spans(self, frames: Iterable[int]) -> tuple[tuple[float, float], ...]:
        """Runs of frames -> spans in seconds, each from the first frame's start to the last one's end."""
        ordered = np.array(sorted(set(frames)), int)
        if not len(ordered):
            return ()
        edges = np.append(self.times, self.end)
        breaks = np.flatnonzero(np.diff(ordered) != 1)
        starts, ends = ordered[np.append(0, breaks + 1)], ordered[np.append(breaks, len(ordered) - 1)]
        return tuple((float(edges[a]), float(edges[b + 1])) for a, b in zip(starts, ends, strict=True))

    def parts(self, count: int) -> np.ndarray:
        """(N,): in which of `count` equal parts of the video's time each frame appears."""
        return np.minimum((self.times / self.end * count + 1e-9).astype(int), count - 1)

    def same(self, other: "Clock") -> bool:
        """Whether both show the same frames at the same times."""
        return np.array_equal(self.times, other.times) and self.end == other.end


def steps(stamps: np.ndarray) -> int:
    """Ticks from one stamp to the next, as a rule; 0 where none moves on."""
    moves = np.diff(stamps)
    moves = moves[moves > 0]
    return int(np.median(moves)) if len(moves) else 0


def joins(
    pts: np.ndarray, dts: np.ndarray, key: np.ndarray, usual: int, second: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where time stamps start anew, as in files put one after the other: (numbers of those packets, ticks
    (N,) to add to each packet's so that they are counted on). From the packets' stamps (N,) in order of
    decoding and whether each is a key frame: times of decoding never fall within one recording, but by
    mistake."""
    known = np.flatnonzero(dts != NONE)
    before, here = dts[known[:-1]], dts[known[1:]]
    after = np.append(here[1:], -NONE)[: len(here)]
    # One that falls alone, or a little and not at a key frame, is a mistake.
    new = (here < before - second) | ((here < before) & (after <= before) & (key[known[1:]] != 0))
    starts = known[1:][new]
    firsts = np.append(0, starts)
    stamps = np.where(pts != NONE, pts, dts)
    low = np.minimum.reduceat(np.where(stamps != NONE, stamps, -NONE), firsts)
    high = np.maximum.reduceat(stamps, firsts)
    moves = high[:-1].astype(float) + usual - low[1:]
    if np.abs(moves).sum() > -NONE:  # broken stamps, which the clock refuses
        return starts[:0], np.zeros(len(pts), np.int64)
    shifts = np.cumsum(np.append(0, high[:-1] + usual - low[1:]))
    return starts, np.repeat(shifts, np.diff(np.append(firsts, len(pts))))


class Stamps:
    """Time stamps as frames come, in order of showing: what falls back is put right, and said. usual: ticks
    of a frame; second: ticks of a second."""

    def __init__(self, usual: int, second: int) -> None:
        self.ticks = array("q")
        self.notes: dict[str, str] = {}  # the first of each kind
        self._usual, self._second, self._shift = usual, second, 0

    def add(self, stamp: int | None) -> int:
        """The next frame's stamp, counted on where the file gives none or starts anew."""
        if not self.ticks:
            self.ticks.append(stamp or 0)
            return stamp or 0
        before, count = self.ticks[-1], len(self.ticks)
        found = before + self._usual if stamp is None else stamp + self._shift
        if found < before - self._second:
            self.notes.setdefault("anew", f"time stamps start anew at frame {count}: they are counted on")
            self._shift += before + self._usual - found
            found = before + self._usual
        elif found < before:
            self.notes.setdefault(
                "back", f"the time stamp of frame {count} falls back: it comes with the one before"
            )
            found = before
        found = min(found, -NONE)
        self.ticks.append(found)
        return found
