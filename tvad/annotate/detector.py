"""Boxes for words, by a zero-shot detector of transformers (GroundingDINO, MM-GroundingDINO, OWL-ViT, OWLv2):
asked and kept as a teacher is: the request's words are a JSON list of names, the reply is JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tvad.annotate.teacher import DETECT, Ask, Reply
from tvad.common.errors import InputError
from tvad.common.hub import content

DETECTED: dict[str, Any] = {"type": "object", "properties": {"found": {"type": "array"}}}


def request(image: Any, names: Sequence[str], moment: float) -> Ask:
    """Where each of the names is in a picture (H, W, 3)."""
    return Ask(
        json.dumps(sorted(set(names)), allow_nan=False),
        DETECTED,
        image[None],
        (moment,),
        0,
        {"stage": DETECT},
    )


@dataclass
class Detector:
    """A checkpoint's; `threshold`: least score of a box, `text_threshold`: of a word's share in it
    (GroundingDINO, whose authors' both are 0.25). Safetensors alone, no code of the checkpoint's."""

    path: str
    threshold: float = 0.25
    text_threshold: float = 0.25
    name: str = field(init=False)

    def __post_init__(self) -> None:
        import torch
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        for what in ("threshold", "text_threshold"):
            if not 0 <= getattr(self, what) <= 1:
                raise InputError(f"--detector: {what} is {getattr(self, what)!r}, expected 0 to 1")
        try:
            self.processor = AutoProcessor.from_pretrained(self.path, trust_remote_code=False)
            self.model = AutoModelForZeroShotObjectDetection.from_pretrained(
                self.path, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            said = " ".join(str(error).split())[:300]
            raise InputError(
                f"--detector {self.path}: no zero-shot detector that transformers opens: {said}"
            ) from error
        self.model = self.model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.worded = (
            hasattr(self.model.config, "text_config") and "grounding" in self.model.config.model_type
        )
        files = content(self.path)  # the same folder may hold other weights tomorrow
        parts = ["detector:" + self.path, files, f"{self.threshold:g}", f"{self.text_threshold:g}"]
        self.name = " ".join(part for part in parts if part)

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        for n, ask in enumerate(asks):
            found = self._found(ask.images[0], json.loads(ask.prompt))
            yield n, Reply(json.dumps({"found": found}, allow_nan=False))

    def _found(self, image: Any, names: list[str]) -> list[dict[str, Any]]:
        """Name, score and box in pixels of what is found. Of a name that is longer than an OWL's 16 tokens
        (40 characters of some scripts are) its beginning is looked for; GroundingDINO has room for all."""
        import torch

        height, width = image.shape[:2]
        short = {} if self.worded else {"truncation": True}
        inputs = self.processor(images=image, text=[names], return_tensors="pt", **short)
        inputs = inputs.to(self.model.device)
        with torch.no_grad():
            outputs = self.model(**inputs)
        more = (
            {"input_ids": inputs["input_ids"], "text_threshold": self.text_threshold} if self.worded else {}
        )
        (told,) = self.processor.post_process_grounded_object_detection(
            outputs, threshold=self.threshold, target_sizes=[(height, width)], text_labels=[names], **more
        )
        if not len(told["scores"]):  # GroundingDINO's processor then gives one empty word
            return []
        rows = zip(told["text_labels"], told["scores"].tolist(), told["boxes"].tolist(), strict=True)
        return [
            {"name": str(name), "score": round(score, 4), "box": [round(c, 2) for c in box]}
            for name, score, box in rows
        ]
