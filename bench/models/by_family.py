"""How a model is asked for boxes and its answers are read, by its family: the suite's rules where it states
some, else the family's, else the protocol's."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from bench.models.families import Known
from bench.suite import STATED, Item, Suite
from tvad.answer import Reading
from tvad.common.errors import InputError
from tvad.data.sample import Sample

Size = tuple[int, int]  # width, height


def read_as(
    items: list[Item], suite: Suite, known: Known, picture: Callable[[int, int, int], Size | None]
) -> list[Item]:
    """The items with readings of a model's family: its unit of boxes unless the suite states another, its
    marks of reasoning beside the suite's. picture: the size at which the model sees frames, of their number,
    height and width. Raises InputError where boxes are in pixels of a picture whose size is not known."""
    marks = [list(pair) for pair in known.family.reasoning if list(pair) not in suite.reading.reasoning]
    unit = suite.reading.boxes or known.family.boxes
    if not marks and unit == suite.reading.unit:
        return items
    sizes: dict[str, Size | None] = {}
    made: dict[tuple[int, Size | None], Reading] = {}  # one for many items: each makes its table of classes

    def of(item: Item) -> Reading:
        size, own = None, item.reading
        if unit == "pixels" and not suite.reading.boxes:
            name = item.sample.id
            if name not in sizes:
                sizes[name] = _seen(item.sample, suite, picture)
            if (size := sizes[name]) is None and item.task == "spatial":
                raise InputError(
                    f"boxes of {known.name} are in pixels of the resized picture, whose size is not known"
                    f" of {item.id}; set reading.boxes to pixels and reading.picture, or --model.family tvad"
                )
        key = (id(own), size)
        if key not in made:
            seen = list(size) if size else own.picture
            made[key] = replace(own, boxes=unit, picture=seen, reasoning=[*own.reasoning, *marks])
        return made[key]

    return [replace(item, reading=of(item)) for item in items]


def _seen(sample: Sample, suite: Suite, picture: Callable[[int, int, int], Size | None]) -> Size | None:
    from tvad.model.room import shown  # not before: an endpoint needs no torch

    if picture(2, 64, 64) is None:
        return None
    clip = shown(sample, suite.rate, suite.max_frames)
    return picture(clip.frames, clip.height, clip.width)


def record(suite: Suite, known: Known) -> dict[str, Any]:
    """What run.json holds of it."""
    found = {"name": known.name, "by": known.by, **asdict(known.family)}
    if suite.reading.boxes:
        found |= {"boxes": suite.reading.boxes, "source": STATED}
    return found
