"""How large a clip's frames may be made for a model, as a configuration says it, and how many a checkpoint
was trained on. What size they become, its video processor decides (`tvad.model.budget`)."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tvad.common.errors import InputError

KEYS = ("min_pixels", "max_pixels", "total_pixels")


@dataclass(frozen=True)
class Budget:
    """Bounds of a clip's frames after resizing; None: as the checkpoint has it. min_pixels, max_pixels: of a
    frame. total_pixels: of a clip, each time step (two frames) counted once: 3584 x 28 x 28 are 3584 video
    tokens of Qwen2.5-VL. Every frame gets an even share of it, but at least 1.05 x min_pixels. (Qwen3-VL's
    processor enlarges frames only where all of a clip together have less than min_pixels.) Raises InputError
    for what no frame can have."""

    min_pixels: int | None = None
    max_pixels: int | None = None
    total_pixels: int | None = None

    def __post_init__(self) -> None:
        for key in KEYS:
            if (value := getattr(self, key)) is not None and value < 1:
                raise InputError(f"{key}: {value}, expected at least 1")
        if self.min_pixels and self.max_pixels and self.min_pixels > self.max_pixels:
            raise InputError(f"min_pixels: {self.min_pixels} is above max_pixels, {self.max_pixels}")

    @classmethod
    def of(cls, plan: Any) -> "Budget":
        """Of a configuration with these keys."""
        return cls(*(getattr(plan, key) for key in KEYS))

    @property
    def given(self) -> dict[str, int]:
        """The bounds that are stated."""
        return {key: value for key in KEYS if (value := getattr(self, key)) is not None}

    @property
    def stated(self) -> str:
        """In words."""
        return ", ".join(f"{k} {v}" for k, v in self.given.items()) or "the checkpoint's own pixels"


def kept_sampling(folder: str | Path) -> tuple[float | None, int | None]:
    """(frames a second, most frames) of the clips that a checkpoint was trained on; None where it does not
    say."""
    try:
        said = json.loads(Path(folder, "processor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None, None  # whoever opens the checkpoint says what is wrong with it
    return said.get("clip_rate"), said.get("clip_frames")
