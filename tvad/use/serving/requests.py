"""What a request may ask for: frames within the server's own sampling, no knob without effect, no control
token in people's text. Everything else is refused by name, before any work."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tvad.common.errors import InputError
from tvad.data.video import MAX_FRAMES, RATE

CHAT = "/v1/chat/completions"
# What Qwen's tools and others take beside a video; vLLM's chat reads none of them, so they would be ignored.
ELSEWHERE = (
    *("fps", "nframes", "num_frames", "max_frames", "min_frames", "sample_fps", "video_fps"),
    *("min_pixels", "max_pixels", "total_pixels", "resized_height", "resized_width"),
    *("video_start", "video_end", "start_time", "end_time"),
)
HOW = 'frames are asked for by "media_io_kwargs": {"video": {"fps": ..., "num_frames": ...}}'
# Keys of a request that no chat template gets; a completion's `prompt` is the client's own, tokens and all.
# Whatever else there is may reach the model's prompt.
NO_TEXT = ("prompt", "stop", "bad_words", "chat_template")


@dataclass(frozen=True)
class Sampling:
    """Frames of a clip: `rate` a second, at most `frames`. The server's own is the most that a request may
    ask for: the checkpoint's memory and its training are for that."""

    rate: float = RATE
    frames: int = MAX_FRAMES

    @classmethod
    def of_server(cls, args: Any) -> "Sampling":
        """From vLLM's parsed arguments (`--media-io-kwargs`)."""
        video = (getattr(args, "media_io_kwargs", None) or {}).get("video", {})
        return cls(float(video.get("fps", RATE)), int(video.get("num_frames", MAX_FRAMES)))

    def asked(self, knobs: dict[str, Any]) -> "Sampling":
        """With the fps and num_frames of a request's `media_io_kwargs["video"]`. Raises InputError for what
        is beyond this one, and for any other key."""
        for key in knobs:
            if key not in ("fps", "num_frames"):
                raise InputError(f"media_io_kwargs.video.{key:.40}: not taken; expected fps, num_frames")
        rate, frames = knobs.get("fps", self.rate), knobs.get("num_frames", self.frames)
        if not _number(rate) or not 0 < rate <= self.rate:
            raise InputError(
                f"media_io_kwargs.video.fps: {_short(rate)} is not within the server's limit, more than 0 and"
                f" at most {self.rate:g} frames a second"
            )
        if not isinstance(frames, int) or isinstance(frames, bool) or not 2 <= frames <= self.frames:
            raise InputError(
                f"media_io_kwargs.video.num_frames: {_short(frames)} is not within the server's limit, 2 to"
                f" {self.frames} frames"
            )
        return Sampling(float(rate), frames)


def check(path: str, body: dict[str, Any], server: Sampling, trusted: bool, tokens: Sequence[str]) -> bool:
    """Look at a request's JSON, sent to `path`; whether a heatmap is wanted beside the answer. Raises
    InputError that names what is refused.

    `trusted`: the server takes frames a request (`--trust-request-mm-kwargs`; without it vLLM refuses them by
    name); `tokens`: the tokenizer's control tokens."""
    if trusted:
        _check_frames(body, server)
    parts = [found for _, found in _below(body.get("messages")) if isinstance(found, dict)]
    for holder in (body, *(part for part in parts if "url" in part or "video" in str(part.get("type")))):
        if found := [key for key in ELSEWHERE if key in holder]:
            raise InputError(f"{found[0]}: without effect there; {HOW}")
    for part in parts:
        address = part.get("video_url")
        address = address.get("url") if isinstance(address, dict) else address
        if "video_url" in part and not (address and isinstance(address, str)):
            raise InputError("video_url: expected an address, found none")
        if "uuid" in part:  # vLLM would answer about whatever was first sent by that name, by anybody
            raise InputError("uuid: not taken; a clip is known by its content")
    control = re.compile("|".join(map(re.escape, tokens)) or r"(?!)")  # one pass over texts of 100 MiB
    for key, value in body.items():
        for text in _texts({key: value}) if key not in NO_TEXT else ():
            if held := control.search(text):
                raise InputError(f"{key:.40}: the text holds the control token {held[0]}")
    wanted = body.get("heatmap")
    if not isinstance(wanted, bool | None):
        raise InputError(f"heatmap: expected true or false, found {_short(wanted)}")
    if wanted and path != CHAT:
        raise InputError(f"heatmap: only at {CHAT}")
    if wanted and body.get("stream"):
        raise InputError("heatmap: not with stream")
    if wanted and (count := sum(part.get("type") == "video_url" for part in parts)) != 1:
        raise InputError(f"heatmap: expected one video_url, found {count}")
    return bool(wanted)


def _check_frames(body: dict[str, Any], server: Sampling) -> None:
    if (sized := body.get("mm_processor_kwargs")) not in (None, {}):
        names = ", ".join(sized) if isinstance(sized, dict) else _short(sized)
        raise InputError(f"mm_processor_kwargs ({names:.80}): without effect on a clip; {HOW}")
    knobs = body.get("media_io_kwargs")
    knobs = {} if knobs is None else knobs
    if not isinstance(knobs, dict) or not isinstance(knobs.get("video", {}), dict):
        raise InputError(f"media_io_kwargs: expected a mapping of mappings; {HOW}")
    if other := [key for key in knobs if key != "video"]:
        raise InputError(f"media_io_kwargs.{other[0]:.40}: not taken; {HOW}")
    server.asked(knobs.get("video", {}))


def _number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: Any) -> str:
    """A value of a request as it may stand in a message."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 40 else text[:40] + "…"


def _below(value: Any) -> Iterator[tuple[str, Any]]:
    """(key, value) of everything below a JSON value, a list's items under the list's key; without recursion,
    whatever the depth."""
    waiting = [("", value)]
    while waiting:
        key, found = waiting.pop()
        yield key, found
        if isinstance(found, dict):
            waiting += found.items()
        elif isinstance(found, list):
            waiting += [(key, inner) for inner in found]


def _texts(value: Any) -> Iterator[str]:
    """Every text below `value`, keys too, as a chat template may write it: parts of a message one after the
    other, and a call's arguments as what their JSON says."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, list):
            waiting += found
            yield "".join(map(_words, found))
        elif isinstance(found, dict):
            yield from found
            waiting += found.values()
            if isinstance(arguments := found.get("arguments"), str):
                with suppress(ValueError, RecursionError):
                    waiting.append(json.loads(arguments))


def _words(part: Any) -> str:
    """The text of a part of a message, none of media."""
    if isinstance(part, dict):
        part = part.get(kind if (kind := part.get("type")) in ("refusal", "thinking") else "text")
    return part if isinstance(part, str) else ""
