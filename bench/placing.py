"""Which score holds for which frame of a video: scores and maps that were made elsewhere are placed by what
their line says of them, never stretched in silence.

    nothing          one a frame; maps also one per two frames that the suite shows, as `bench run` has them
    "stride": k      number i is for frames k i to k i + k - 1, snippets of k frames; the end of the video may
                     cut the last one short, or leave fewer than k frames behind it, which have no score and
                     take no part (public scripts cut the truth there)
    "times": [...]   number i holds from that second on until the next one's, the first from the beginning
    "spread": true   so many equal parts of the video (32 segments: Sultani et al., CVPR 2018)
"""

import numpy as np

from tvad.data.video import Frames
from tvad.detections import steps_of

RULES = ("stride", "times", "spread")


def placed(count: int, row: dict, frames: Frames) -> np.ndarray:
    """(total,) which of `count` scores or maps holds for every frame of the video, -1 for none. Raises
    ValueError, with both numbers, where they do not fit it."""
    total = frames.total
    given = [rule for rule in RULES if row.get(rule) is not None and row[rule] is not False]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} are two rules, expected one")
    what = "frame_scores" if "frame_scores" in row else "maps"
    if not given:
        if count == total:
            return np.arange(total)
        if what == "maps" and count == -(-len(frames.moments) // 2):
            return steps_of(frames.clock.times, frames.moments)
        raise ValueError(
            f'{count} {what}, the video has {total} frames; say how they lie: "stride" (frames each), "times"'
            ' (seconds) or "spread": true (evenly)'
        )
    if given == ["stride"]:
        return _by_stride(count, row["stride"], total, what)
    if given == ["times"]:
        return _by_times(count, row["times"], frames, what)
    if row["spread"] is not True or count > total:
        raise ValueError(f"spread is {row['spread']!r} with {count} {what} over {total} frames")
    return frames.clock.parts(count)


def _by_stride(count: int, stride: object, total: int, what: str) -> np.ndarray:
    if (
        isinstance(stride, bool)
        or not isinstance(stride, (int, float))
        or not 1 <= stride < 1 << 53
        or stride != int(stride)
    ):
        raise ValueError(f"stride is {stride!r}, expected a whole number of frames, at least 1")
    k = int(stride)
    if not k * (count - 1) < total < k * (count + 1):
        raise ValueError(
            f"{count} {what} of {k} frames each are for {k * (count - 1) + 1} to {k * (count + 1) - 1}"
            f" frames, the video has {total}"
        )
    number = np.arange(total) // k
    return np.where(number < count, number, -1)


def _by_times(count: int, given: object, frames: Frames, what: str) -> np.ndarray:
    if not isinstance(given, list) or any(
        isinstance(t, bool) or not isinstance(t, (int, float)) for t in given
    ):
        raise ValueError("times must be a list of seconds")
    if len(given) != count:
        raise ValueError(f"{count} {what}, but {len(given)} times")
    times, shown = np.array(given, float), frames.clock.times
    if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) <= 0).any():
        raise ValueError("times must rise, from 0 s or later")
    end = frames.duration
    step = float(np.diff(times).max()) if count > 1 else end
    # More than a step that no score covers, before the first or behind the last, is another video or unit.
    if times[-1] >= end or max(times[0], end - times[-1] - step) > step:
        raise ValueError(
            f"times {times[0]:g} to {times[-1]:g} s in steps of at most {step:g} s do not cover the video's"
            f" {end:.2f} s"
        )
    return np.maximum(np.searchsorted(times, shown + 1e-6, side="right") - 1, 0)
