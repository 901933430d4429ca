"""Clips inside vLLM: a loader that gives its models the frames that training and benchmark give (vLLM's own
choose others), named in `--media-io-kwargs '{"video": {"video_backend": "tvad", ...}}'`; and one for clips
that are sampled already and travel as they are, bit for bit ("clip", `address_of`)."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from tvad.common.errors import InputError
from tvad.data.video import RATE, Frames, decode, sample_indices
from tvad.data.video.pictures import unpacked
from tvad.data.video.reading import room_for

LOADER, EXACT = "tvad", "clip"


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


def packed(clip: Frames) -> tuple[bytes, str]:
    """A sampled clip as a safetensors body, no bit of its frames lost, and the hash of all that a model is
    given of it."""
    told = json.dumps(clip.metadata, allow_nan=False)
    body = save({"images": clip.pictures()}, {"json": told})
    return body, hashlib.sha256(body).hexdigest()


def opened(body: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    """What `packed` packed, as vLLM's loaders give a clip. Raises InputError for anything else."""
    try:
        images = load(body)["images"]
        size = int.from_bytes(body[:8], "little")
        told = json.loads(json.loads(body[8 : 8 + size])["__metadata__"]["json"])
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError("video_url: expected a clip as the trainer packs one (video/x-clip)") from error
    return images, told | {"video_backend": EXACT, "do_sample_frames": False}


def address_of(body: bytes) -> str:
    """A packed clip as the `data:` URL of a request."""
    return "data:video/x-clip;base64," + base64.b64encode(body).decode()


def register_loader() -> None:
    """Make vLLM know both loaders by name (`video_backend`)."""
    from vllm.multimodal.video import VIDEO_LOADER_REGISTRY, VideoLoader

    class ClipLoader(VideoLoader):
        """vLLM hands on what the server's and the request's `media_io_kwargs` say, 32 frames where they name
        no number."""

        @classmethod
        def load_bytes(cls, data: bytes, num_frames: int = -1, fps: float = RATE, **_):
            return as_video(sampled(data, fps, num_frames))

    class ExactLoader(VideoLoader):
        """Of clips that are sampled already: nothing is decoded or sampled again."""

        @classmethod
        def load_bytes(cls, data: bytes, num_frames: int = -1, **_):
            return opened(data)

    for name, loader in ((LOADER, ClipLoader), (EXACT, ExactLoader)):
        if name not in VIDEO_LOADER_REGISTRY.name2class:
            VIDEO_LOADER_REGISTRY.register(name)(loader)
