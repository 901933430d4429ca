"""The clock of the video that an answer is about: what percentages, frame numbers and "the end" are turned
into seconds by. Filled where the video is known (`tvad.data.sample.Video.timing`); nothing is assumed."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """`duration` in seconds; `fps` of a video whose frames are evenly spaced; `times`: seconds at which each
    frame is shown, (frames,), counted from the first one's, where they are known one by one. None where not
    known."""

    duration: float | None = None
    fps: float | None = None
    times: Sequence[float] | None = None

    def frame(self, number: float) -> float | None:
        """Seconds at which frame `number`, counted from 0, begins; the one after the last is the end. None
        where that is not known or there is no such frame."""
        if number < 0 or number != int(number):
            return None
        if self.times is not None:
            if number < len(self.times):
                return float(self.times[int(number)] - self.times[0])
            return self.duration if number == len(self.times) else None
        if not self.fps:
            return None
        seconds = number / self.fps
        return None if self.duration is not None and seconds > self.duration + 0.5 / self.fps else seconds
