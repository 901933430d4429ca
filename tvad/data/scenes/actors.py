"""Drawing of what moves in a scene: articulated people, bicycles, cars, bags, thrown things, smoke and fire.

Every function draws into the 4-channel canvas (BGR + object id) around a ground point, sizes in metres, and
touches nothing else. Angles are radians; `facing` is the heading on the ground (0 to the right, pi/2 away
from the camera).
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np

# Named colours in BGR: the words are part of the questions, so they are few and far apart.
COLOURS = {
    "red": (45, 45, 205),
    "blue": (200, 90, 40),
    "green": (70, 150, 50),
    "yellow": (60, 210, 235),
    "white": (235, 235, 235),
    "black": (38, 36, 36),
    "purple": (160, 60, 130),
    "orange": (40, 130, 245),
}
SKIN = ((120, 160, 215), (95, 130, 185), (60, 85, 130))


@dataclass
class Look:
    """Appearance of a person (colour names) or a vehicle."""

    top: str
    bottom: str
    skin: int
    height: float
    carried: str | None = None  # "backpack", "suitcase" or None

    def describe(self) -> str:
        return f"dressed in {self.top} and {self.bottom}" + (
            f", with a {self.carried}" if self.carried else ""
        )


@dataclass
class Pose:
    """One frame of a body. `phase` drives legs and arms; `tilt` lays the whole body over; swings are joint
    amplitudes."""

    phase: float = 0.0
    stride: float = 0.5
    bend: float = 0.7
    tilt: float = 0.0
    lean: float = 0.0
    lift: float = 0.0
    near_arm: float | None = None
    far_arm: float | None = None
    crawl: bool = False
    sit: bool = False
    empty_handed: bool = False


def _limb(canvas, place, joints, width, colour):
    points = [place(*joint) for joint in joints]
    for a, b in itertools.pairwise(points):
        cv2.line(canvas, a, b, colour, width, cv2.LINE_8, 4)


def person(
    canvas: np.ndarray, u: float, v: float, k: float, facing: float, look: Look, pose: Pose, oid: int
) -> None:
    """Draw a person whose feet stand at pixel (u, v); `k` pixels per metre."""
    side = math.cos(facing)
    side = math.copysign(max(abs(side), 0.18), side)
    turn = 1.0 if side >= 0 else -1.0
    h = look.height / 1.75
    sin_t, cos_t = math.sin(pose.tilt), math.cos(pose.tilt)

    def place(x, y):
        """Body coordinates (forward, up) in metres at 1.75 m -> fixed-point pixels."""
        x, y = x * h, y * h
        fx, fy = x * cos_t + y * sin_t, -x * sin_t + y * cos_t
        # The fallen body is seen along its whole length whatever it faced.
        fx *= side if abs(pose.tilt) < 0.3 else turn
        return int((u + fx * k) * 16), int((v - (fy + pose.lift + 0.06 * abs(sin_t)) * k) * 16)

    top = (*COLOURS[look.top], oid)
    bottom = (*COLOURS[look.bottom], oid)
    dark_bottom = (*(int(c * 0.75) for c in COLOURS[look.bottom]), oid)
    dark_top = (*(int(c * 0.78) for c in COLOURS[look.top]), oid)
    skin, shoe = (*SKIN[look.skin], oid), (30, 30, 32, oid)
    leg, arm = max(1, int(0.15 * k * h)), max(1, int(0.11 * k * h))

    if pose.crawl:
        s = 0.14 * math.sin(pose.phase)
        _limb(canvas, place, [(-0.55, 0.42), (-0.5 + s, 0.02), (-0.85 + s, 0.03)], leg, dark_bottom)
        _limb(canvas, place, [(0.1, 0.5), (0.14 - s, 0.02)], arm, dark_top)
        _limb(canvas, place, [(-0.55, 0.45), (0.12, 0.55)], max(2, int(0.3 * k * h)), top)
        _limb(canvas, place, [(-0.55, 0.42), (-0.5 - s, 0.02), (-0.85 - s, 0.03)], leg, bottom)
        _limb(canvas, place, [(0.1, 0.5), (0.14 + s, 0.02)], arm, top)
        hx, hy = place(0.36, 0.62)
        cv2.circle(canvas, (hx, hy), int(0.13 * k * h * 16), skin, -1, cv2.LINE_8, 4)
        return

    if pose.sit:
        _limb(canvas, place, [(0.0, 0.2), (0.4, 0.42), (0.58, 0.03)], leg, dark_bottom)
        _limb(canvas, place, [(0.0, 0.2), (-0.1, 0.72)], max(2, int(0.3 * k * h)), top)
        _limb(canvas, place, [(0.0, 0.2), (0.34, 0.46), (0.5, 0.03)], leg, bottom)
        _limb(canvas, place, [(-0.08, 0.68), (0.12, 0.42), (0.34, 0.5)], arm, dark_top)
        hx, hy = place(-0.04 + pose.lean, 0.93)
        cv2.circle(canvas, (hx, hy), int(0.13 * k * h * 16), skin, -1, cv2.LINE_8, 4)
        return

    def leg_joints(phase):
        thigh = pose.stride * math.sin(phase)
        knee = pose.bend * max(0.0, math.sin(phase - 1.1)) + 0.06
        kx, ky = 0.44 * math.sin(thigh), 0.88 - 0.44 * math.cos(thigh)
        shin = thigh - knee
        fx, fy = kx + 0.42 * math.sin(shin), ky - 0.42 * math.cos(shin)
        return [(0.0, 0.88), (kx, ky), (fx, fy)], (fx, fy)

    def arm_joints(swing, fixed):
        sx = pose.lean
        if fixed is not None:
            return [
                (sx, 1.38),
                (sx + 0.28 * math.sin(fixed), 1.38 - 0.28 * math.cos(fixed)),
                (sx + 0.56 * math.sin(fixed), 1.38 - 0.56 * math.cos(fixed)),
            ]
        a = 0.8 * pose.stride * math.sin(swing)
        e = a + 0.5 * pose.stride
        ex, ey = sx + 0.28 * math.sin(a), 1.38 - 0.28 * math.cos(a)
        return [(sx, 1.38), (ex, ey), (ex + 0.26 * math.sin(e), ey - 0.26 * math.cos(e))]

    far_leg, far_foot = leg_joints(pose.phase + math.pi)
    near_leg, near_foot = leg_joints(pose.phase)
    _limb(canvas, place, arm_joints(pose.phase, pose.far_arm), arm, dark_top)
    if look.carried == "suitcase" and not pose.empty_handed:
        x, y = place(-0.25, 0.25)
        r = int(0.22 * k * h * 16)
        cv2.rectangle(canvas, (x - r, y - r), (x + r, y + r), (45, 60, 110, oid), -1, cv2.LINE_8, 4)
    _limb(canvas, place, far_leg, leg, dark_bottom)
    _limb(canvas, place, [far_foot, (far_foot[0] + 0.16, far_foot[1])], max(1, leg // 2), shoe)
    if look.carried == "backpack":
        x, y = place(pose.lean - 0.2, 1.18)
        cv2.circle(canvas, (x, y), int(0.2 * k * h * 16), (50, 80, 70, oid), -1, cv2.LINE_8, 4)
    _limb(canvas, place, near_leg, leg, bottom)
    _limb(canvas, place, [near_foot, (near_foot[0] + 0.16, near_foot[1])], max(1, leg // 2), shoe)
    # Torso: wider seen from the front than from the side.
    half = (0.13 + 0.09 * abs(math.sin(facing))) * h * k * 16
    (hx, hy), (sx, sy) = place(0.0, 0.85), place(pose.lean, 1.42)
    nx, ny = -(sy - hy), sx - hx
    length = math.hypot(nx, ny) or 1.0
    nx, ny = nx / length * half, ny / length * half
    quad = [
        [hx - nx * 0.85, hy - ny * 0.85],
        [hx + nx * 0.85, hy + ny * 0.85],
        [sx + nx, sy + ny],
        [sx - nx, sy - ny],
    ]
    cv2.fillConvexPoly(canvas, np.array(quad, np.int32), top, cv2.LINE_8, 4)
    x, y = place(pose.lean + 0.03, 1.6)
    r = int(0.13 * k * h * 16)
    cv2.circle(canvas, (x, y), r, skin, -1, cv2.LINE_8, 4)
    cv2.ellipse(canvas, (x, y - r // 3), (r, int(r * 0.7)), 0, 180, 360, (35, 45, 55, oid), -1, cv2.LINE_8, 4)
    _limb(canvas, place, arm_joints(pose.phase + math.pi, pose.near_arm), arm, top)


def shadow(canvas: np.ndarray, u: float, v: float, k: float, width: float) -> None:
    """Darken the ground under something `width` metres wide; ids stay."""
    rx, ry = max(1, int(width * k / 2)), max(1, int(width * k / 7))
    x0, x1, y0, y1 = int(u) - rx, int(u) + rx + 1, int(v) - ry, int(v) + ry + 1
    if x0 < 0 or y0 < 0 or x1 > canvas.shape[1] or y1 > canvas.shape[0]:
        return
    patch = canvas[y0:y1, x0:x1, :3]
    mask = _ellipse(rx, ry)
    patch[mask] -= patch[mask] // 10 * 3


_ELLIPSES: dict[tuple[int, int], np.ndarray] = {}


def _ellipse(rx, ry):
    if (rx, ry) not in _ELLIPSES:
        y, x = np.ogrid[-ry : ry + 1, -rx : rx + 1]
        _ELLIPSES[rx, ry] = (x / rx) ** 2 + (y / ry) ** 2 <= 1
    return _ELLIPSES[rx, ry]


def bicycle(canvas, u, v, k, facing, look: Look, pose: Pose, oid: int, rider: bool = True) -> None:
    """Draw a bicycle, with its rider unless it is only parked."""
    side = math.cos(facing)
    side = math.copysign(max(abs(side), 0.3), side)

    def at(x, y):
        return int((u + x * side * k) * 16), int((v - y * k) * 16)

    w = max(1, int(0.05 * k))
    frame, tyre = (60, 60, 180, oid), (25, 25, 25, oid)
    for x in (-0.52, 0.52):
        axes = (max(1, int(0.33 * k * abs(side) * 16)), int(0.33 * k * 16))
        cv2.ellipse(canvas, at(x, 0.34), axes, 0, 0, 360, tyre, max(1, int(0.07 * k)), cv2.LINE_8, 4)
    for a, b in (
        ((-0.52, 0.34), (0.0, 0.34)),
        ((0.0, 0.34), (0.4, 0.85)),
        ((-0.2, 0.85), (0.4, 0.85)),
        ((-0.2, 0.9), (0.0, 0.34)),
        ((0.52, 0.34), (0.4, 1.0)),
        ((0.4, 1.0), (0.5, 1.05)),
    ):
        cv2.line(canvas, at(*a), at(*b), frame, w, cv2.LINE_8, 4)
    if not rider:
        return
    top, bottom = (*COLOURS[look.top], oid), (*COLOURS[look.bottom], oid)
    leg, arm = max(1, int(0.15 * k)), max(1, int(0.1 * k))
    for turn in (math.pi, 0.0):
        px, py = 0.17 * math.cos(pose.phase + turn), 0.34 + 0.17 * math.sin(pose.phase + turn)
        for a, b in (
            ((-0.2, 0.98), (0.22, 0.8 + 0.3 * (py - 0.34))),
            ((0.22, 0.8 + 0.3 * (py - 0.34)), (px, py)),
        ):
            cv2.line(canvas, at(*a), at(*b), bottom, leg, cv2.LINE_8, 4)
    cv2.line(canvas, at(-0.2, 1.0), at(0.12, 1.48), top, max(2, int(0.3 * k)), cv2.LINE_8, 4)
    cv2.line(canvas, at(0.1, 1.42), at(0.45, 1.08), top, arm, cv2.LINE_8, 4)
    cv2.circle(canvas, at(0.22, 1.7), int(0.13 * k * 16), (*SKIN[look.skin], oid), -1, cv2.LINE_8, 4)


def car(canvas, u, v, k, facing, colour: str, oid: int) -> None:
    """Draw a car: from the side, or its narrower end where it drives towards or away from the camera."""
    paint = (*COLOURS[colour], oid)
    glass = (*(int(c * 0.3 + 60) for c in COLOURS[colour]), oid)
    end_on = abs(math.cos(facing)) < 0.5
    half = 0.9 if end_on else 2.0
    turn = 1 if math.cos(facing) >= 0 else -1

    def quad(*corners, fill):
        points = [[(u + x * turn * k) * 16, (v - y * k) * 16] for x, y in corners]
        cv2.fillPoly(canvas, [np.array(points, np.int32)], fill, cv2.LINE_8, 4)

    if end_on:
        quad((-half, 0.25), (half, 0.25), (half, 0.95), (-half, 0.95), fill=paint)
        quad((-0.7, 0.95), (0.7, 0.95), (0.55, 1.5), (-0.55, 1.5), fill=glass)
        light = (190, 235, 250, oid) if math.sin(facing) < 0 else (50, 50, 220, oid)
        for x in (-0.65, 0.65):
            cv2.circle(
                canvas,
                (int((u + x * k) * 16), int((v - 0.7 * k) * 16)),
                int(0.14 * k * 16),
                light,
                -1,
                cv2.LINE_8,
                4,
            )
    else:
        quad((-half, 0.3), (half, 0.3), (half, 0.8), (1.2, 0.95), (-half, 0.98), fill=paint)
        quad((-1.5, 0.95), (-1.1, 1.48), (0.5, 1.48), (1.15, 0.93), fill=paint)
        quad((-1.3, 0.97), (-1.0, 1.38), (-0.25, 1.38), (-0.25, 0.97), fill=glass)
        quad((-0.1, 0.97), (-0.1, 1.38), (0.4, 1.38), (0.95, 0.97), fill=glass)
    for x in (-0.7, 0.7) if end_on else (-1.25, 1.25):
        centre = (int((u + x * k) * 16), int((v - 0.32 * k) * 16))
        cv2.circle(canvas, centre, int(0.32 * k * 16), (28, 28, 28, oid), -1, cv2.LINE_8, 4)


def bag(canvas, u, v, k, oid: int) -> None:
    """Draw a suitcase standing on the ground."""
    cv2.rectangle(
        canvas, (int(u - 0.3 * k), int(v - 0.62 * k)), (int(u + 0.3 * k), int(v)), (45, 60, 110, oid), -1
    )
    cv2.rectangle(
        canvas,
        (int(u - 0.1 * k), int(v - 0.75 * k)),
        (int(u + 0.1 * k), int(v - 0.62 * k)),
        (30, 30, 30, oid),
        1,
    )


def thrown(canvas, u, v, k, oid: int) -> None:
    """Draw a flying object."""
    cv2.circle(canvas, (int(u), int(v)), max(2, int(0.17 * k)), (40, 60, 210, oid), -1)


def plume(canvas, u, v, k, age: float, flame: bool, seed: int, oid: int) -> None:
    """Draw smoke or fire of `age` 0..1 rising from (u, v): soft blobs blended over the picture."""
    rng = np.random.default_rng(seed)
    reach = (1.5 if flame else 2.7) * (0.45 + 0.55 * age) * k
    half = (0.75 if flame else 1.1) * (0.5 + 0.5 * age) * k
    size = canvas.shape[0]
    x0, x1 = max(0, int(u - half * 1.6)), min(size, int(u + half * 1.6) + 1)
    y0, y1 = max(0, int(v - reach * 1.2)), min(size, int(v + 0.2 * k) + 1)
    if x1 - x0 < 3 or y1 - y0 < 3:
        return
    density = np.zeros((y1 - y0, x1 - x0), np.float32)
    for i in range(14):
        rise = (i + rng.random()) / 14
        spread = half * (1 - 0.75 * rise if flame else 0.35 + 0.65 * rise)
        x = u + rng.uniform(-0.6, 0.6) * spread
        radius = max(1, int(spread * (0.5 if flame else 0.55)))
        cv2.circle(density, (int(x) - x0, int(v - rise * reach) - y0), radius, 1.0, -1)
    kernel = max(3, int(0.25 * k) | 1)
    density = cv2.GaussianBlur(density, (kernel, kernel), 0)
    patch = canvas[y0:y1, x0:x1]
    if flame:
        heat = np.linspace(0, 1, y1 - y0, dtype=np.float32)[:, None, None]
        colour = (
            np.array([30, 90, 240], np.float32) * (1 - heat) + np.array([110, 230, 255], np.float32) * heat
        )
    else:
        colour = np.full((y1 - y0, 1, 3), 150 + 40 * math.sin(seed), np.float32)
    alpha = (density * (0.95 if flame else 0.8))[..., None]
    patch[..., :3] = (patch[..., :3] * (1 - alpha) + colour * alpha).astype(np.uint8)
    patch[..., 3][density > 0.4] = oid
