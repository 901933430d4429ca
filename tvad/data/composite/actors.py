"""Actors for composites, drawn or made of real walkers, in a camera's perspective and light: normal ones, and
what is not to be there. Shape must be what tells them apart: what rides also stands and goes slowly, and
people also walk fast."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from tvad.data.composite.cutouts import Cutout
from tvad.data.composite.footage import Looking
from tvad.data.scenes import actors as draw
from tvad.data.scenes.actors import COLOURS, Look, Pose

FINER = 3  # times finer than the footage, actors are drawn
PERSON = 1.75  # metres
# Speeds in those of the footage's walkers, least and most.
SPEEDS = {
    "bicycle": (0.0, 5.0),
    "rider": (0.0, 5.0),
    "cart": (0.0, 4.0),
    "skateboarder": (1.2, 4.0),
    "glider": (1.5, 4.0),
    "runner": (2.4, 4.0),
    "walker": (0.0, 1.5),
    "passer-by": (1.0, 1.0),
    "brisk walker": (1.2, 1.9),
}
DRAWN = ("bicycle", "cart", "skateboarder", "runner", "walker")
WRONG = {"bicycle": 0.25, "rider": 0.25, "cart": 0.2, "skateboarder": 0.12, "glider": 0.1, "runner": 0.08}
RIGHT = {"walker": 0.35, "passer-by": 0.4, "brisk walker": 0.25}
# What stands where an anomalous actor stood, in the normal clip of the same making.
TWIN = {
    **dict.fromkeys(("bicycle", "cart", "skateboarder", "runner"), "walker"),
    **dict.fromkeys(("rider", "glider"), "passer-by"),
}
WIDTHS = {"bicycle": 1.3, "rider": 1.3, "cart": 2.4}  # metres of a shadow; of people 0.7


@dataclass(frozen=True)
class Piece:
    """An actor in one frame: colour (h, w, 3), multiplied by alpha (h, w) 0..1; x, y: its corner in pixels,
    between them too; foot: the row in which it stands; shadow: (x, width in pixels, strength), None
    without."""

    colour: np.ndarray
    alpha: np.ndarray
    x: float
    y: float
    foot: float
    shadow: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Actor:
    """An actor over the frames of a clip."""

    kind: str
    anomalous: bool
    pieces: list[Piece]


@dataclass(frozen=True)
class Place:
    """Where an actor stands in the first frame, and the direction in which it goes, in radians, 0 to the
    right and pi / 2 downwards."""

    x: float
    foot: float
    heading: float


class Cast:
    """Makes actors of `frames` frames for a camera."""

    def __init__(self, looking: Looking, cutouts: list[Cutout], frames: int, rng: np.random.Generator):
        self.looking, self.cutouts, self.frames, self.rng = looking, cutouts, frames, rng

    def place(self) -> Place:
        """Where people walk, and a little beside it; along the ways that they take, or across."""
        rng, looking = self.rng, self.looking
        cutout = self.cutouts[int(rng.integers(len(self.cutouts)))]
        x, foot = cutout.feet[0]
        tall = looking.tall(foot)
        if rng.random() < 0.5:
            x = float(rng.uniform(-0.02, 1.02)) * looking.width
        foot += float(rng.normal(0, 0.35)) * tall
        foot = float(np.clip(foot, 0.6 * tall, looking.height - 1))
        dx, dy = cutout.way
        heading = math.atan2(dy, dx) + (math.pi if rng.random() < 0.5 else 0.0) + float(rng.normal(0, 0.15))
        return Place(x, foot, heading)

    def make(self, kind: str, place: Place, anomalous: bool) -> Actor:
        low, high = SPEEDS[kind]
        speed = float(self.rng.uniform(low, high))
        if kind in DRAWN:
            return Actor(kind, anomalous, self._drawn(kind, place, speed))
        return Actor(kind, anomalous, self._real(kind, place, speed))

    def _at(self, place: Place, speed: float, n: int) -> tuple[float, float]:
        """(x, foot) after n steps at so many times a walker's speed; slower where all is smaller."""
        way = speed * self.looking.walk * self.looking.tall(place.foot) * n
        return place.x + way * math.cos(place.heading), place.foot + way * math.sin(place.heading)

    def _drawn(self, kind: str, place: Place, speed: float) -> list[Piece]:
        rng, looking = self.rng, self.looking
        top, bottom = (str(name) for name in rng.choice(list(COLOURS), 2))
        carried = "backpack" if rng.random() < 0.4 else None
        look = Look(top, bottom, int(rng.integers(3)), float(rng.uniform(1.6, 1.85)), carried)
        phase, size = float(rng.uniform(0, 6)), float(rng.uniform(0.9, 1.1))
        dark, light = float(rng.uniform(0.3, 1.0)), float(rng.uniform(0, 25))
        soft, strength = float(rng.uniform(0.45, 0.75)), float(rng.uniform(0.1, 0.4))
        cart = _cart_of(rng)
        # On the ground of a scene pi / 2 is away from the camera.
        facing = math.atan2(-math.sin(place.heading) * 0.8, math.cos(place.heading))
        texture: np.ndarray | None = None
        pieces = []
        for n in range(self.frames):
            x, foot = self._at(place, speed, n)
            metre = looking.tall(foot) / PERSON * size  # pixels
            reach = int(3.2 * looking.tall(max(place.foot, foot)) / PERSON * 1.1) + 6
            side = 2 * reach * FINER
            left, above = int(x) - reach, int(foot) - reach
            canvas = np.zeros((side, side, 4), np.uint8)
            u, v, k = (x - left) * FINER, (foot - above) * FINER, metre * FINER
            gone = speed * looking.walk * PERSON * n  # metres
            _paint(canvas, kind, u, v, k, facing, look, phase, gone, cart)
            alpha: np.ndarray = canvas[..., 3].astype(np.float32) / 255
            colour: np.ndarray = canvas[..., 2::-1].astype(np.float32)
            if looking.grey:
                colour = np.repeat(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
            if texture is None:  # cloth and paint are no single colour
                texture = rng.normal(0, 14, (side // FINER // 3 + 1,) * 2).astype(np.float32)
            colour = (colour * dark + light + cv2.resize(texture, (side, side))[..., None]) * alpha[..., None]
            alpha, colour = (_shrunk(part, (2 * reach, 2 * reach), soft) for part in (alpha, colour))
            shadow = x, WIDTHS.get(kind, 0.7) * metre, strength
            pieces.append(Piece(np.clip(colour, 0, 255), alpha, left, above, foot, shadow))
        return pieces

    def _near(self, foot: float) -> Cutout:
        """A walker who is about as tall as one would be in this row."""
        tall = self.looking.tall(foot)
        fitting = [c for c in self.cutouts if abs(self.looking.tall(c.feet[0][1]) - tall) < 0.15 * tall]
        fitting = fitting or self.cutouts
        return fitting[int(self.rng.integers(len(fitting)))]

    def _real(self, kind: str, place: Place, speed: float) -> list[Piece]:
        """A real walker: at his own pace (passer-by), faster, gliding without moving his legs, or from the
        hips up on a bicycle."""
        rng, looking = self.rng, self.looking
        cutout = self._near(place.foot)
        dx, dy = cutout.way
        own = math.hypot(dx, dy)
        mirrored = bool(rng.random() < 0.5)
        gain = float(rng.uniform(0.85, 1.1))
        heading = place.heading
        if kind != "glider" and kind != "rider" and own > 0:
            heading = math.atan2(dy, -dx if mirrored else dx)  # legs walk where he goes
        bicycle = self._bicycle(place, heading) if kind == "rider" else None
        # A brisk walker is as much faster than the usual as drawn, whatever his own pace was.
        way = own if kind == "passer-by" else speed * looking.walk * looking.tall(place.foot)
        pieces = []
        for n in range(self.frames):
            m = 0 if kind in ("glider", "rider") else n
            picture, alpha = cutout.pictures[m].astype(np.float32) * gain, cutout.alphas[m]
            off = cutout.feet[m][0] - cutout.corners[m][0]
            if mirrored:
                picture, alpha, off = picture[:, ::-1], alpha[:, ::-1], alpha.shape[1] - off
            x, foot = place.x + way * math.cos(heading) * n, place.foot + way * math.sin(heading) * n
            above = foot - (cutout.feet[m][1] - cutout.corners[m][1])
            piece = Piece(np.clip(picture, 0, 255) * alpha[..., None], alpha, x - off, above, foot)
            pieces.append(piece if bicycle is None else self._mounted(piece, bicycle, x, foot, heading, n))
        return pieces

    def _bicycle(self, place: Place, heading: float) -> dict[str, float]:
        rng = self.rng
        return {
            "phase": float(rng.uniform(0, 6)),
            "hips": float(rng.uniform(0.55, 0.68)),
            "dark": float(rng.uniform(0.4, 1.0)),
            "light": float(rng.uniform(0, 20)),
            "strength": float(rng.uniform(0.1, 0.35)),
            "turn": 1.0 if math.cos(heading) >= 0 else -1.0,
            "pedals": float(rng.uniform(0.0, 0.9)),
        }

    def _mounted(
        self, person: Piece, bicycle: dict[str, float], x: float, foot: float, heading: float, n: int
    ) -> Piece:
        """The upper part of a person on a drawn bicycle, with drawn legs."""
        metre = self.looking.tall(foot) / PERSON
        turn = bicycle["turn"]
        width, height = int(3.2 * metre) + 6, int(2.6 * metre) + 6
        u, v, k = width / 2 * FINER, (height - 4) * FINER, metre * FINER
        canvas = np.zeros((height * FINER, width * FINER, 4), np.uint8)
        look = Look("black", "black", 0, PERSON)
        facing = math.atan2(-math.sin(heading) * 0.8, math.cos(heading))
        draw.bicycle(canvas, u, v, k, facing, look, Pose(), 255, rider=False)
        phase = bicycle["phase"] + bicycle["pedals"] * n
        for other in (math.pi, 0.0):
            px, py = 0.17 * math.cos(phase + other), 0.34 + 0.17 * math.sin(phase + other)
            knee = 0.2, 0.8 + 0.3 * (py - 0.34)
            for a, b in (((-0.15, 0.95), knee), (knee, (px, py))):
                ends = [(int(u + turn * p * k), int(v - q * k)) for p, q in (a, b)]
                cv2.line(canvas, ends[0], ends[1], (60, 60, 60, 255), max(1, int(0.16 * k)))
        alpha: np.ndarray = canvas[..., 3].astype(np.float32) / 255
        colour: np.ndarray = canvas[..., 2::-1].astype(np.float32)
        if self.looking.grey:
            colour = np.repeat(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)[..., None], 3, 2)
        colour = (colour * bicycle["dark"] + bicycle["light"]) * alpha[..., None]
        alpha, colour = (_shrunk(part, (width, height), 0.55) for part in (alpha, colour))
        cut = int(person.alpha.shape[0] * bicycle["hips"])
        shown, over = person.colour[:cut], person.alpha[:cut]
        # He sits a little behind the middle; his hips are at the saddle's height.
        left = max(0, width // 2 - over.shape[1] // 2 - int(turn * 0.05 * metre))
        above = max(0, int(height - 4 - 0.85 * metre) - cut)
        rows, columns = min(cut, height - above), min(over.shape[1], width - left)
        part = slice(above, above + rows), slice(left, left + columns)
        over, shown = over[:rows, :columns], shown[:rows, :columns]
        colour[part] = colour[part] * (1 - over[..., None]) + shown
        alpha[part] = np.maximum(alpha[part], over)
        shadow = x, WIDTHS["rider"] * metre, bicycle["strength"]
        return Piece(colour, np.clip(alpha, 0, 1), x - width / 2, foot - (height - 4), foot, shadow)


def _shrunk(part: np.ndarray, size: tuple[int, int], soft: float) -> np.ndarray:
    """A drawing in the footage's resolution, as soft as what a camera sees."""
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), soft).astype(np.float32)


def _cart_of(rng: np.random.Generator) -> dict[str, float]:
    """Sizes of an electric cart, in metres, and its brightness."""
    return {
        "length": float(rng.uniform(1.6, 4.2)),
        "body": float(rng.uniform(0.6, 1.1)),
        "cabin": float(rng.uniform(0.3, 0.65)),
        "top": float(rng.uniform(0.5, 1.1)),
        "paint": float(rng.uniform(60, 245)),
        "posts": float(rng.integers(2, 4)),
        "open": float(rng.random() < 0.5),
    }


def _paint(
    canvas: np.ndarray, kind: str, u: float, v: float, k: float, facing: float, look: Look, phase: float,
    gone: float, cart: dict[str, float],
) -> None:  # fmt: skip
    """Draw a kind of actor into a canvas (BGR, alpha) at its foot point, k pixels a metre, after `gone`
    metres."""
    if kind == "walker":
        draw.person(canvas, u, v, k, facing, look, Pose(phase + 4.2 * gone, 0.5, 0.7, lean=0.05), 255)
    elif kind == "runner":
        draw.person(canvas, u, v, k, facing, look, Pose(phase + 1.9 * gone, 0.95, 1.5, lean=0.2), 255)
    elif kind == "bicycle":
        draw.bicycle(canvas, u, v, k, facing, look, Pose(phase + 1.9 * gone), 255)
    elif kind == "skateboarder":
        pose = Pose(
            0.4 + 0.2 * phase, 0.25 + 0.1 * phase, 0.3, lean=0.12, near_arm=None if phase < 3 else 0.9
        )
        draw.person(canvas, u, v - 0.12 * k, k, facing, look, pose, 255)
        board = [(int((u + x * k) * 16), int((v - 0.07 * k) * 16)) for x in (-0.42, 0.42)]
        cv2.line(canvas, board[0], board[1], (40, 40, 40, 255), max(1, int(0.08 * k)), cv2.LINE_8, 4)
        for x in (-0.3, 0.3):
            centre = int((u + x * k) * 16), int((v - 0.03 * k) * 16)
            cv2.circle(canvas, centre, int(0.05 * k * 16), (30, 30, 30, 255), -1, cv2.LINE_8, 4)
    elif kind == "cart":
        _paint_cart(canvas, u, v, k, 1 if math.cos(facing) >= 0 else -1, cart)
    else:
        raise AssertionError(kind)


def _paint_cart(canvas: np.ndarray, u: float, v: float, k: float, turn: int, cart: dict[str, float]) -> None:
    length, paint, top = cart["length"], cart["paint"], cart["body"] + cart["top"]

    def box(x0: float, x1: float, y0: float, y1: float, tone: float) -> None:
        corners = (int(u + turn * x0 * k), int(v - y1 * k)), (int(u + turn * x1 * k), int(v - y0 * k))
        cv2.rectangle(canvas, *corners, (tone, tone, tone, 255), -1)

    back = length / 2 - cart["cabin"] * length
    box(-length / 2, length / 2, 0.25, cart["body"], paint)
    box(back, length / 2 - 0.05 * length, cart["body"], top, max(20.0, 0.35 * paint))
    box(back, length / 2 - 0.02 * length, top - 0.12, top, paint)
    for n in range(int(cart["posts"])):
        x = back + cart["cabin"] * length * (0.05 + 0.85 * n / (cart["posts"] - 1))
        box(x, x + 0.05 * length, cart["body"], top, paint)
    if cart["open"]:
        box(-length / 2, -length / 2 + 0.3, cart["body"], cart["body"] + 0.3, 0.6 * paint)
    for x in (-0.32, 0.33):
        centre = int((u + x * length * k) * 16), int((v - 0.27 * k) * 16)
        cv2.circle(canvas, centre, int(0.27 * k * 16), (28, 28, 28, 255), -1, cv2.LINE_8, 4)
