"""What is kept of a whole video that a T-VAD model looked at (`tvad.use.infer.analyse` fills it)."""

from dataclasses import dataclass, field

import numpy as np

from tvad import pictures
from tvad.data import video
from tvad.detections import Path as ObjectPath
from tvad.detections import nearest


@dataclass
class Analysis:
    """A whole video. centres (S,): seconds of each temporal step; maps (S, h, w) in [0, 1], the mean over the
    windows that saw the step, None without AHD; jpegs: one frame a step, shrunk and packed (a long video has
    thousands); objects: linked detections in the video's pixels, by step; spans: seconds, merged over
    windows; clip: the window that the dialogue is about, the most anomalous one; unread: reason -> windows
    whose answer says neither when nor that there is nothing."""

    path: str
    fps: float
    frames: int
    width: int
    height: int
    windows: int
    centres: np.ndarray
    maps: np.ndarray | None
    jpegs: list[bytes]
    objects: list[ObjectPath]
    spans: list[tuple[float, float]]
    clip: video.Frames
    unread: dict[str, int] = field(default_factory=dict)

    def anomaly(self) -> str:
        """When, in words. Windows that could not be read are no windows without an anomaly."""
        found = ", ".join(f"{a:.1f} to {b:.1f} s" for a, b in self.spans)
        count = sum(self.unread.values())
        if not count:
            return found or "none"
        why = f"({', '.join(f'{reason} {n}' for reason, n in self.unread.items())})"
        if count == self.windows and not found:
            return f"not read {why}"
        return f"{found or f'none in {self.windows - count} windows'}; {count} not read {why}"

    def image(self, step: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a step's first frame."""
        return pictures.unpack(self.jpegs[step])

    def steps(self) -> np.ndarray:
        """(frames,): the step that shows each frame."""
        return nearest(self.centres, self.frames, self.fps)

    def frame_scores(self) -> np.ndarray | None:
        """(frames,): maximum of each frame's map."""
        return None if self.maps is None else self.maps.max((1, 2))[self.steps()]
