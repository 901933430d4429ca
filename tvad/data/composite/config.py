"""What composites are made of normal footage, as data. Imports no library that draws."""

from dataclasses import dataclass

from tvad.common.errors import InputError, at_least

LEAST_FRAMES = 2
TALL = 32.0  # pixels


@dataclass
class CompositeConfig:
    """Composites of normal footage."""

    clips: int = 1000
    """How many, anomalous and normal ones alike."""
    frames: int = 4
    """Frames of a clip, a step apart: what a heatmap sees is a pair of them."""
    validation: float = 0.15
    """Share of the videos of which the clips of val/ are made; those of train/ are of the others."""
    plain: float = 0.1
    """Share of the clips that are footage as it is, without actors."""
    tall: float = TALL
    """Pixels of a person's height at which the footage is looked at: two to three patches of 14; larger
    pictures show more and cost more."""
    seed: int = 0
    """The same seed gives the same files."""

    def check(self) -> None:
        """Raises InputError."""
        at_least("seed", self.seed, 0)
        if self.clips < 2 or self.frames < LEAST_FRAMES:
            raise InputError(
                f"clips must be at least 2 and frames {LEAST_FRAMES}, found {self.clips} and {self.frames}"
            )
        if not 8 <= self.tall <= 512:
            raise InputError(f"tall is {self.tall:g}, expected 8 to 512 pixels")
        if not (0 < self.validation < 1 and 0 <= self.plain < 1):
            raise InputError("validation must lie between 0 and 1, plain in 0 to below 1")
