"""Clips inside vLLM: a loader that gives its models the frames that training and benchmark give (vLLM's own
choose others), named in `--media-io-kwargs '{"video": {"video_backend": "tvad", ...}}'`."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from tvad.common.errors import InputError
from tvad.data.video import RATE, Frames, decode, sample_indices
from tvad.data.video.pictures import unpacked
from tvad.data.video.reading import room_for

LOADER = "tvad"


def sampled(data: bytes, rate: float, max_frames: int) -> Frames:
    """A video file's bytes -> its frames at `rate` a second, thinned out evenly to `max_frames`; vLLM's -1 is
    no bound. Raises InputError (a ValueError) for what is no usable video."""
    return decode(io.BytesIO(data), rate if rate > 0 else None, max_frames if max_frames > 0 else None)


def of_pictures(files: Sequence[bytes], fps: float, rate: float, max_frames: int) -> Frames:
    """Pictures, `fps` of them a second, as a clip, sampled as a video is. Raises InputError that counts them
    from 1."""
    if not 0 < fps <= 1000:
        raise InputError(f"the pictures' fps must be more than 0 and at most 1000, found {fps:g}")
    indices = sample_indices(len(files), fps, rate, max_frames)
    images: np.ndarray | None = None
    for place, index in enumerate(indices.tolist()):
        image = unpacked(files[index], f"picture {index + 1}")
        if images is None:
            images = room_for(len(indices), image, "the pictures")
        if image.shape != images[0].shape:
            raise InputError(f"picture {index + 1}: of another size than the first")
        images[place] = image
    assert images is not None
    return Frames(images, indices / fps, indices, fps, len(files))


def as_video(clip: Frames) -> tuple[np.ndarray, dict[str, Any]]:
    """A sampled clip as vLLM's loaders give one: frames and what its processors read of them."""
    return clip.pictures(), clip.metadata | {"video_backend": LOADER, "do_sample_frames": False}


def register_loader() -> None:
    """Make vLLM know the sampling by name (`video_backend`)."""
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

    class ClipLoader(VideoLoader):
        """vLLM hands on what the server's and the request's `media_io_kwargs` say, 32 frames where they name
        no number."""

        @classmethod
        def load_bytes(cls, data: bytes, num_frames: int = -1, fps: float = RATE, **_):
            return as_video(sampled(data, fps, num_frames))

    if LOADER not in VIDEO_LOADER_REGISTRY.name2class:
        VIDEO_LOADER_REGISTRY.register(LOADER)(ClipLoader)
