"""What is kept of a whole video that a T-VAD model looked at (`tvad.use.infer.analyse` fills it)."""

from dataclasses import dataclass

import numpy as np

from tvad import pictures
from tvad.data import video
from tvad.detections import Path as ObjectPath
from tvad.detections import nearest


@dataclass
class Analysis:
    """A whole video. source: what `tvad.data.video` reads, path: its name; clock: when its frames are shown;
    centres (S,): seconds of each temporal step; maps (S, h, w) in [0, 1], the mean over the windows that saw
    the step, None without AHD; jpegs: one frame a step, shrunk and packed (a long video has thousands);
    objects: linked detections in the video's pixels, by step; spans: seconds, merged over windows; clip: the
    window that the dialogue is about, the most anomalous one."""

    source: str
    path: str
    clock: video.Clock
    width: int
    height: int
    windows: int
    centres: np.ndarray
    maps: np.ndarray | None
    jpegs: list[bytes]
    objects: list[ObjectPath]
    spans: list[tuple[float, float]]
    clip: video.Frames

    @property
    def fps(self) -> float:
        """Frames a second, the mean where they vary."""
        return self.clock.fps

    @property
    def frames(self) -> int:
        return len(self.clock)

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.clock.end

    def image(self, step: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB of a step's first frame."""
        return pictures.unpack(self.jpegs[step])

    def steps(self) -> np.ndarray:
        """(frames,): the step that shows each frame."""
        return nearest(self.centres, self.clock.times)

    def frame_scores(self) -> np.ndarray | None:
        """(frames,): maximum of each frame's map."""
        return None if self.maps is None else self.maps.max((1, 2))[self.steps()]
