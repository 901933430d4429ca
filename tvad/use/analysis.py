"""What is kept of a whole video that a T-VAD model looked at (`tvad.use.infer.analyse` fills it)."""

from dataclasses import dataclass

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
    windows; unread: windows whose answer says neither a span nor that there is none; clip: the window that
    the dialogue is about, the most anomalous one."""

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
    unread: int
    clip: video.Frames

    def image(self, step: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a step's first frame."""
        return pictures.unpack(self.jpegs[step])

    def steps(self) -> np.ndarray:
        """(frames,): the step that shows each frame."""
        return nearest(self.centres, self.frames, self.fps)

    def frame_scores(self) -> np.ndarray | None:
        """(frames,): maximum of each frame's map."""
        return None if self.maps is None else self.maps.max((1, 2))[self.steps()]
