"""Clips inside vLLM: a loader that gives its models the frames that training and benchmark give (vLLM's own
choose others), named in `--media-io-kwargs '{"video": {"video_backend": "tvad", ...}}'`.

A request may hold a file (`data:video/mp4;base64,…`) or, as vLLM takes them, JPEG pictures with commas
between (`data:video/jpeg;base64,…,…`). How many of these a second the request must say, by
`"media_io_kwargs": {"video": {"pictures_fps": …}}`; vLLM would take them for frames at the rate of the
server's sampling."""

import base64
import binascii
import io
from functools import wraps
from typing import Any

import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data.video import RATE, Clock, Frames, decode

LOADER = "tvad"


def sampled(data: bytes, rate: float, max_frames: int) -> Frames:
    """A video file's bytes -> its frames at `rate` a second, thinned out evenly to `max_frames`; vLLM's -1 is
    no bound. Raises InputError (a ValueError) for what is no usable video."""
    return decode(io.BytesIO(data), rate if rate > 0 else None, max_frames if max_frames > 0 else None)


def sampled_pictures(text: str, own: float | None, rate: float, max_frames: int) -> Frames:
    """Pictures in base64 with commas between, `own` of them a second -> as `sampled`. Raises InputError for a
    rate that is not given, what is no picture, and pictures of several sizes."""
    if own is None or not 0 < own < float("inf"):
        raise InputError(
            "a list of pictures needs its rate: media_io_kwargs.video.pictures_fps, pictures a second"
        )
    parts = text.split(",")
    clock = Clock.constant(len(parts), own)
    indices, moments = clock.taken(rate if rate > 0 else None, max_frames if max_frames > 0 else None)
    images = [_picture(parts[n], n) for n in indices]
    if len({image.shape for image in images}) > 1:
        raise InputError("a list of pictures: they must be of one size")
    return Frames(np.stack(images), clock.times[indices], indices, own, len(parts), moments, clock)


def _picture(part: str, place: int) -> np.ndarray:
    try:
        data = np.frombuffer(base64.b64decode(part, validate=True), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except (binascii.Error, ValueError, cv2.error):
        image = None
    if image is None:
        raise InputError(f"a list of pictures: number {place} is no picture in base64")
    return np.ascontiguousarray(image[..., ::-1])


def register_loader() -> None:
    """Make vLLM know the sampling by name (`video_backend`)."""
    from vllm.multimodal.media.base import MediaWithBytes
    from vllm.multimodal.media.video import VideoMediaIO
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

    def given(clip: Frames):
        return clip.pictures(), clip.metadata | {"video_backend": LOADER, "do_sample_frames": False}

    class ClipLoader(VideoLoader):
        """vLLM hands on what the server's and the request's `media_io_kwargs` say, 32 frames where they name
        no number."""

        @classmethod
        def load_bytes(cls, data: bytes, num_frames: int = -1, fps: float = RATE, **more):
            if "pictures_fps" in more:
                raise InputError("pictures_fps is for a list of pictures: a video file has times of its own")
            return given(sampled(data, fps, num_frames))

    if LOADER in VIDEO_LOADER_REGISTRY.name2class:
        return
    VIDEO_LOADER_REGISTRY.register(LOADER)(ClipLoader)
    plain = VideoMediaIO.load_base64

    # vLLM reads lists of pictures itself, whatever the loader, and takes the first `num_frames` of them.
    @wraps(plain)
    def load_base64(self, media_type: str, data: str):
        if media_type.lower() != "video/jpeg" or not isinstance(self.video_loader, ClipLoader):
            return plain(self, media_type, data)
        knobs = self.kwargs
        clip = sampled_pictures(data, knobs.get("pictures_fps"), knobs.get("fps", RATE), self.num_frames)
        return MediaWithBytes(given(clip), data.encode())

    reader: Any = VideoMediaIO
    reader.load_base64 = load_base64
