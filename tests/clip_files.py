"""Small video files of several kinds, made where a test needs them: a grey room in which a light goes on."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE, FRAMES, WIDTH, HEIGHT = 10, 80, 64, 48
LIT = range(30, 55)  # frames: 3.0 to 5.5 s
PIXELS = {"mjpeg": "yuvj420p", "gif": "rgb8"}


def write_clip(path: Path, codec: str = "libx264", frames: int = FRAMES, lit: range = LIT) -> Path:
    """A clip of 64 x 48 pixels at 10 frames a second; the container is the one of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(RATE))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, PIXELS.get(codec, "yuv420p")
        for n in range(frames):
            image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
            if n in lit:
                image[10:30, 10:40] = 230
            image[40:44, n % WIDTH] = 120  # something moves
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=stream.pix_fmt)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
