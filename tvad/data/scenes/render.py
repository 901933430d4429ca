"""Drawing a planned clip: frames, the anomaly's pixels, and the visible box of every object.

Frames are drawn at twice the output size without anti-aliasing and averaged down: smooth edges, and an id for
every pixel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from tvad.common.errors import InputError
from tvad.data.scenes import actors as draw
from tvad.data.scenes.script import ANOMALIES, CORE_PLACES, Actor, Plan, make_plan
from tvad.data.scenes.world import BACKDROPS, WEATHER, Backdrop, Weather, draw_occluder, make_backdrop

SUPERSAMPLE = 2
CROWD_WEIGHTS = (6, 8, 9, 9, 8, 6, 5, 4, 3, 2, 2, 1, 1)  # 0..12 people


@dataclass
class Clip:
    """A rendered clip. frames (T, S, S, 3) uint8 RGB; masks (T, S, S) bool, the anomalous pixels; tracks:
    actor index -> {frame: (x1, y1, x2, y2)}, inclusive pixels of its visible part; plan, backdrop and weather
    as drawn."""

    frames: np.ndarray
    masks: np.ndarray
    tracks: dict[int, dict[int, tuple[int, int, int, int]]]
    plan: Plan
    backdrop: str
    weather: str

    @property
    def anomalous_frames(self) -> np.ndarray:
        """(T,) bool."""
        return np.asarray(self.masks.any((1, 2)))


def _draw_actor(canvas, place: Backdrop, actor: Actor, i: int, oid: int) -> None:
    pose = actor.poses[i]
    x, z = actor.path[i]
    if pose is None or z < 4.0:
        return
    size = canvas.shape[0]
    k = place.camera.scale(z) * size
    u, v = (c * size for c in place.camera.project(x, z))
    if not -0.6 * size < u < 1.6 * size:
        return
    facing = float(actor.facing[i])
    look, lift, age = actor.look, actor.lift, actor.age
    if actor.kind == "person" and look is not None:
        draw.shadow(canvas, u, v, k, 0.7)
        draw.person(canvas, u, v, k, facing, look, pose, oid)
    elif actor.kind == "car" and actor.colour is not None:
        draw.shadow(canvas, u, v, k, 4.0)
        draw.car(canvas, u, v, k, facing, actor.colour, oid)
    elif actor.kind == "bicycle" and look is not None:
        draw.shadow(canvas, u, v, k, 1.4)
        draw.bicycle(canvas, u, v, k, facing, look, pose, oid)
    elif actor.kind == "bag":
        draw.bag(canvas, u, v, k, oid)
    elif actor.kind == "thrown" and lift is not None:
        draw.thrown(canvas, u, v - lift[i] * k, k, oid)
    elif actor.kind in ("smoke", "fire") and age is not None:
        draw.plume(canvas, u, v, k, float(age[i]), actor.kind == "fire", int(pose.phase), oid)
    else:
        raise ValueError(f"cannot draw actor kind {actor.kind!r}")


def _visible_boxes(ids, count):
    """Tight boxes of the ids 1..count that have at least 12 pixels, at half the resolution of `ids`."""
    pixels = np.bincount(ids.ravel(), minlength=count + 1)
    boxes = {}
    for oid in np.flatnonzero(pixels[1 : count + 1] >= 12) + 1:
        x, y, w, h = cv2.boundingRect((ids == oid).view(np.uint8))
        boxes[int(oid) - 1] = tuple(c // SUPERSAMPLE for c in (x, y, x + w - 1, y + h - 1))
    return boxes


def render(plan: Plan, place: Backdrop, weather: str, rng: np.random.Generator, size: int) -> Clip:
    """Draw `plan` at `place` into a clip of size x size pixels. The backdrop must be painted at `size *
    SUPERSAMPLE`."""
    big = size * SUPERSAMPLE
    if place.image.shape[0] != big:
        raise ValueError(f"backdrop is {place.image.shape[0]} pixels wide, expected {big}")
    background = np.dstack([place.image, np.zeros((big, big), np.uint8)])
    for x, z in place.parked:
        u, v = (c * big for c in place.camera.project(x, z))
        paint = list(draw.COLOURS)[int(rng.integers(len(draw.COLOURS)))]
        draw.car(background, u, v, place.camera.scale(z) * big, -np.pi / 2, paint, 0)
    sky = Weather(weather, rng, place.camera, size)
    frames = np.empty((plan.frames, size, size, 3), np.uint8)
    masks = np.zeros((plan.frames, size, size), bool)
    tracks: dict[int, dict] = {}
    for i in range(plan.frames):
        # Far to near, so that what is near covers what is far: the last channel then holds, for every pixel,
        # the id of the object that is seen there (0: nothing, or what only hides others).
        canvas = background.copy()
        order = [(actor.path[i][1], oid) for oid, actor in enumerate(plan.actors, 1)]
        order += [(z, -n - 1) for n, (_, _, z) in enumerate(place.occluders)]
        for _, which in sorted(order, reverse=True):
            if which > 0:
                _draw_actor(canvas, place, plan.actors[which - 1], i, which)
            else:
                draw_occluder(canvas, place.camera, *place.occluders[-which - 1])
        ids = np.ascontiguousarray(canvas[..., 3])
        for index, box in _visible_boxes(ids, len(plan.actors)).items():
            tracks.setdefault(index, {})[i] = box
        wrong = [
            oid
            for oid, actor in enumerate(plan.actors, 1)
            if actor.anomalous[i] and i in tracks.get(oid - 1, {})
        ]
        if wrong:
            # A pixel of the output averages four; from two of them on (127 of 255) it counts.
            lit = np.isin(ids, wrong).view(np.uint8) * 255
            masks[i] = cv2.resize(lit, (size, size), interpolation=cv2.INTER_AREA) > 110
        small = cv2.resize(canvas[..., :3], (size, size), interpolation=cv2.INTER_AREA)
        frames[i] = sky.apply(small, i)[..., ::-1]
    return Clip(frames, masks, tracks, plan, place.name, weather)


def _worth_keeping(clip: Clip, size: int) -> bool:
    """An anomaly must be seen: three frames or more, whose largest mask has 1/450 of the picture (28 pixels
    at 112)."""
    if clip.plan.category is None:
        return True
    area = clip.masks.sum((1, 2))
    return int((area > 0).sum()) >= 3 and area.max() >= size * size / 450


def make_clip(
    seed: int,
    category: str | None,
    size: int = 112,
    frames: int = 16,
    fps: float = 4.0,
    max_crowd: int = 12,
    core: bool = False,
) -> Clip:
    """Plan and draw one clip. Deterministic: the same arguments give the same bytes.

    `category` is one of `script.ANOMALIES` or None for a normal clip. Plans whose anomaly would not be seen
    are drawn again from the next sub-seed. `core` keeps to daylight and `script.CORE_PLACES`. Raises
    InputError where the anomaly is seen in none of a hundred plans.
    """
    if category is not None and category not in ANOMALIES:
        raise ValueError(f"unknown anomaly class {category!r}; known: {', '.join(ANOMALIES)}")
    places = list(BACKDROPS) if category is None else list(ANOMALIES[category][1])
    if core:
        places = [place for place in places if place in CORE_PLACES]
    weights = np.array(CROWD_WEIGHTS[: max_crowd + 1], float)
    for attempt in range(100):
        rng = np.random.default_rng([seed, attempt])
        place = make_backdrop(str(rng.choice(places)), rng, size * SUPERSAMPLE)
        shares = (
            (1, 0, 0, 0)
            if core
            else (0.75, 0.25, 0, 0)
            if place.name == "station"
            else (0.5, 0.2, 0.15, 0.15)
        )
        weather = str(rng.choice(WEATHER, p=shares))
        crowd = int(rng.choice(len(weights), p=weights / weights.sum()))
        clip = render(make_plan(rng, place, category, frames, fps, crowd), place, weather, rng, size)
        if _worth_keeping(clip, size):
            return clip
    raise InputError(
        f"no visible {category} in 100 attempts at {fps:g} frames a second, {frames} frames and {size}"
        " pixels: other ones are needed"
    )
