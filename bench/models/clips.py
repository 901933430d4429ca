"""How a model is given a clip: as one video, or, where its family takes none, as the clip's frames, pictures
in order with their times in words. What its chat template and its processor do with a made clip decides, so
that no model is asked about frames that were dropped on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jinja2 import TemplateError
from PIL import Image
from transformers.video_utils import VideoMetadata

from bench.models.base import times_of
from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data.video import Frames

# A list of videos of each prompt, a list of each prompt's own lists, or pictures.
FORMS = ("video", "nested", "images")
SAID, ASKED = "Say what you see.", "What happens?"


@dataclass(frozen=True)
class Given:
    """form: one of FORMS. folded: the template drops or refuses a system turn, so that its text opens the
    first turn of the user. alike: only clips of one shape share a pass."""

    form: str = "video"
    folded: bool = False
    alike: bool = False

    def messages(self, messages: Sequence[dict], clip: Frames) -> list[dict]:
        """Chat messages as the model takes them; their video part stands for `clip`."""
        found = [self._turn(message, clip) for message in messages]
        if self.folded and found[0]["role"] == "system":
            system, user, *rest = found
            opening = [{**part, "text": f"{part['text']}\n"} for part in system["content"]]
            found = [{**user, "content": [*opening, *user["content"]]}, *rest]
        return found

    def _turn(self, message: dict, clip: Frames) -> dict:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if self.form == "images":
            content = [
                p for part in content for p in (_pictures(clip) if part["type"] == "video" else [part])
            ]
        return {**message, "content": content}

    def encoded(self, processor: Any, texts: list[str], clips: list[Frames]) -> Any:
        """The processor's tensors of prompts and their clips, padded on the left."""
        text = {"text": texts, "return_tensors": "pt", "padding": True, "padding_side": "left"}
        if self.form == "images":
            return processor(images=[[*map(Image.fromarray, clip.images)] for clip in clips], **text)
        videos: list[Any] = [torch.from_numpy(clip.pictures()).permute(0, 3, 1, 2) for clip in clips]
        metadata: list[Any] = [VideoMetadata(**clip.metadata) for clip in clips]
        if self.form == "nested":
            videos, metadata = [[video] for video in videos], [[one] for one in metadata]
        return processor(videos=videos, video_metadata=metadata, do_sample_frames=False, **text)


def _pictures(clip: Frames) -> list[dict]:
    """The parts that stand for a clip's frames. Many templates put all pictures first, so their times follow
    them in one sentence."""
    return [*[{"type": "image"} for _ in clip.images], {"type": "text", "text": f"{times_of(clip)}\n"}]


def noise(clip: Frames, seed: int) -> Frames:
    """The clip with noise for pixels."""
    drawn = np.random.default_rng(seed).integers(0, 256, clip.images.shape, np.uint8)
    return replace(clip, images=drawn)


def made(count: int, size: tuple[int, int], seed: int, rate: float = 2.0) -> Frames:
    """A clip of noise, `count` frames of `size` pixels (height, width), `rate` a second."""
    empty = np.zeros((count, *size, 3), np.uint8)
    blank = Frames(empty, np.arange(count) / rate, np.arange(count), rate, count)
    return noise(blank, seed)


def given_to(processor: Any, path: str, forms: Sequence[str] = FORMS) -> Given:
    """The first of the forms in which a clip reaches the tensors of a processor. Raises InputError, with the
    reason for each form, where none does."""
    if not hasattr(processor, "tokenizer"):  # what AutoProcessor gives for one without
        raise InputError(f"{path}: brings a tokenizer and no processor of pictures")
    if getattr(processor, "chat_template", None) is None:  # older checkpoints have it beside the tokenizer
        processor.chat_template = getattr(processor.tokenizer, "chat_template", None)
    if processor.chat_template is None:
        raise InputError(
            f"{path}: has no chat template; put the published chat_template.jinja into its folder"
        )
    if processor.tokenizer.pad_token is None:  # prompts of several lengths share a pass
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    clips, reasons = [made(4, (64, 64), 0), made(6, (64, 96), 1)], []
    for form in forms:
        reason: str | int = "takes no videos"
        if form == "images" or getattr(processor, "video_processor", None) is not None:
            for folded in (False, True):
                given = Given(form, folded)
                if isinstance(reason := _pixels(processor, given, clips[:1]), int):
                    each = [reason, _pixels(processor, given, clips[1:])]
                    together = _pixels(processor, given, clips)
                    # One that is filled up to the other's shape is seen with what it is filled with.
                    alike = isinstance(together, str) or each != [reason, together - reason]
                    return replace(given, alike=alike)
        reasons.append(f"as {'images' if form == 'images' else 'a video'}: {reason}")
    raise InputError(f"{path}: no clip reaches this model ({'; '.join(dict.fromkeys(reasons))})")


def _pixels(processor: Any, given: Given, clips: list[Frames]) -> int | str:
    """How many numbers the processor makes of clips' pixels; where they do not reach its tensors, or what is
    said not its prompts, why."""
    said = [
        {"role": "system", "content": [{"type": "text", "text": SAID}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": ASKED}]},
    ]
    try:
        turns = [given.messages(said, clip) for clip in clips]
        texts = [chat(processor, shown) for shown in turns]
        if SAID not in texts[0] or ASKED not in texts[0]:
            return "its chat template drops what is said"
        words = [{**turn, "content": [p for p in turn["content"] if "text" in p]} for turn in turns[0]]
        if texts[0] == chat(processor, words):
            return "its chat template drops it"
        tensors = given.encoded(processor, texts, clips)
    except TemplateError as error:
        return f"its chat template says {str(error)[:200]}"
    except Exception as error:  # whatever a foreign processor raises is what it makes of this form
        return f"its processor ends with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    made_of = [value for key, value in tensors.items() if key.startswith("pixel_values") and len(value)]
    return sum(value.numel() for value in made_of) or "its processor drops it"
