"""How answers are read beside the protocol: what a suite or a reinforcement run says of the model's family
and of its classes."""

from dataclasses import dataclass, field
from functools import cached_property

from tvad.answer.boxes import Unit
from tvad.answer.classes import Rows, key_of, rows_of
from tvad.common.errors import InputError


@dataclass(frozen=True)
class Reading:
    """How answers are read, where the protocol leaves it open."""

    reasoning: list[list[str]] = field(default_factory=list)
    """Further marks of reasoning, each [opening, closing]; those of docs/answers.md are known."""
    opened: bool = False
    """The chat template opens the reasoning in the prompt; engines in this process see that themselves."""
    boxes: Unit | None = None
    """Unit of boxes: 0..1000 (permille; y first: permille_yx), 0..1, percent, pixels, <loc> tokens. By
    default permille, in a benchmark that of the model's family."""
    picture: list[int] | None = None
    """[width, height] that boxes in pixels are about, after resizing; by default the video's own."""
    classes: dict[str, list[str]] = field(default_factory=dict)
    """Class: other names of it. Classes of the data that are not named here are known by their own name."""

    def __post_init__(self) -> None:
        for pair in self.reasoning:
            if len(pair) != 2 or not all(mark.strip() for mark in pair) or pair[0] == pair[1]:
                raise InputError(f"reasoning: expected [opening, closing], found {pair!r:.80}")
        if self.picture is not None and (len(self.picture) != 2 or min(self.picture) < 1):
            raise InputError(f"picture: expected [width, height] in pixels, found {self.picture!r:.80}")

        held: dict[str, str] = {}
        for name, others in self.classes.items():
            for said in (name, *others):
                if held.setdefault(key_of(said), name) != name:
                    raise InputError(f"classes: {said!r} names both {held[key_of(said)]!r} and {name!r}")

    def check(self) -> None:
        """Raise InputError for a picture that no box is about."""
        if self.picture is not None and self.unit != "pixels":
            raise InputError(f"reading.picture: of boxes in pixels, but reading.boxes is {self.unit}")

    @property
    def unit(self) -> Unit:
        """Of boxes, where no family has one of its own."""
        return self.boxes or "permille"

    @cached_property
    def class_of(self) -> dict[str, str]:
        """Class of every spelling (`tvad.answer.classes.key_of`)."""
        return {key_of(said): name for name, others in self.classes.items() for said in (name, *others)}

    @cached_property
    def table(self) -> Rows:
        """The classes, as `read_classes` looks them up."""
        return rows_of(self.classes)

    @property
    def marks(self) -> tuple[tuple[str, str], ...]:
        return tuple((opening, closing) for opening, closing in self.reasoning)

    @property
    def size(self) -> tuple[int, int] | None:
        return (self.picture[0], self.picture[1]) if self.picture else None


DEFAULT = Reading()
