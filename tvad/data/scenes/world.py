"""The stage of a procedural surveillance scene: a pinhole camera over a ground plane, backdrops, weather.

Ground coordinates are metres: X to the right, Z away from the camera. Images are square BGR uint8 with a
fourth channel that holds object ids, so that one OpenCV call draws an object's colour and its mask.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np

WEATHER = ("day", "night", "rain", "fog")


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with its optical axis parallel to the ground. Lengths in metres, image units in picture
    widths."""

    horizon: float
    focal: float
    height: float

    def scale(self, z: float) -> float:
        """Picture widths per metre at depth `z`."""
        return self.focal / z

    def project(self, x: float, z: float, y: float = 0.0) -> tuple[float, float]:
        """Point `y` metres above ground position (x, z) -> (u, v) in 0..1, v downwards."""
        k = self.focal / z
        return 0.5 + k * x, self.horizon + k * (self.height - y)

    def half_width(self, z: float) -> float:
        """Metres from the picture's centre to its side at depth `z`."""
        return 0.5 * z / self.focal


@dataclass
class Backdrop:
    """An empty place: its picture, where people walk, where vehicles belong, and what stands in the way.

    Zones are depth ranges in metres; `crossing` is the X range of a zebra crossing on the road.
    """

    name: str
    image: np.ndarray
    camera: Camera
    walk: list[tuple[float, float]]
    road: tuple[float, float] | None = None
    crossing: tuple[float, float] | None = None
    occluders: list[tuple[str, float, float]] = field(default_factory=list)  # (kind, x, z)
    parked: list[tuple[float, float]] = field(default_factory=list)


def _noise(rng, size, cells, strength):
    """Smooth noise (size, size, 1) of the given strength."""
    coarse = rng.normal(0, strength, (cells, cells)).astype(np.float32)
    fine = rng.normal(0, strength * 0.4, (size, size)).astype(np.float32)
    return (cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) + fine)[..., None]


def _band(image, camera, z_near, z_far, colour, x0=-60.0, x1=60.0):
    """Fill the ground rectangle x0..x1, z_near..z_far."""
    size = image.shape[0]
    corners = [camera.project(x, z) for x, z in ((x0, z_near), (x1, z_near), (x1, z_far), (x0, z_far))]
    cv2.fillPoly(
        image,
        [np.array([[u * size * 16, v * size * 16] for u, v in corners], np.int32)],
        colour,
        cv2.LINE_AA,
        4,
    )


def _ground_line(image, camera, a, b, colour, width):
    size = image.shape[0]
    p, q = (tuple(int(c * size) for c in camera.project(*point)) for point in (a, b))
    cv2.line(image, p, q, colour, max(1, int(width)), cv2.LINE_AA)


def _sky(image, rng, horizon):
    size = image.shape[0]
    rows = max(2, int(horizon * size) + 2)
    top, bottom = np.array([225, 190, 150.0]), np.array([240, 228, 215.0])
    ramp = np.linspace(0, 1, rows)[:, None]
    image[:rows] = (top * (1 - ramp) + bottom * ramp)[:, None] + rng.normal(0, 6)


def _buildings(image, rng, horizon, tall=1.0):
    size = image.shape[0]
    base, x = int(horizon * size) + 1, 0
    while x < size:
        w = int(size * rng.uniform(0.12, 0.3))
        h = int(size * min(horizon * 0.95, rng.uniform(0.08, 0.24) * tall))
        wall = rng.uniform(90, 190) + rng.uniform(-25, 25, 3)
        cv2.rectangle(image, (x, base - h), (x + w - 1, base), wall.tolist(), -1)
        step = max(4, size // 32)
        for wy in range(base - h + step // 2, base - step // 2, step):
            for wx in range(x + step // 2, x + w - step // 2, step):
                glass = (wall * (0.55 if rng.random() < 0.7 else 1.25)).clip(0, 255)
                cv2.rectangle(image, (wx, wy), (wx + step // 2, wy + step // 2), glass.tolist(), -1)
        x += w


def _tree_line(image, rng, horizon):
    size = image.shape[0]
    for _ in range(26):
        u, r = rng.uniform(0, size), rng.uniform(0.04, 0.11) * size
        green = (rng.uniform(40, 70), rng.uniform(85, 130), rng.uniform(40, 75))
        cv2.circle(image, (int(u), int(horizon * size - r * 0.3)), int(r), green, -1, cv2.LINE_AA)


def _plaza(rng, camera, size):
    image = np.full((size, size, 3), 128, np.float32)
    _sky(image, rng, camera.horizon)
    _buildings(image, rng, camera.horizon)
    stone = rng.uniform(150, 195) + rng.uniform(-12, 12, 3)
    _band(image, camera, 3, 400, stone.tolist())
    seam = (stone * 0.86).tolist()
    for z in np.arange(5, 40, 1.6):
        _ground_line(image, camera, (-60, z), (60, z), seam, size / 224)
    for x in np.arange(-30, 31, 1.6):
        _ground_line(image, camera, (x, 4), (x, 80), seam, size / 224)
    occluders = [("planter", rng.uniform(-4, 4), rng.uniform(8, 15)) for _ in range(rng.integers(0, 3))]
    return Backdrop(
        "plaza", image, camera, [(7.2, 14.5)], occluders=[*occluders, ("lamp", rng.uniform(-5, 5), 16.0)]
    )


def _street(rng, camera, size):
    image = np.full((size, size, 3), 128, np.float32)
    _sky(image, rng, camera.horizon)
    _buildings(image, rng, camera.horizon, tall=1.3)
    pavement = rng.uniform(150, 180) + rng.uniform(-10, 10, 3)
    _band(image, camera, 3, 400, pavement.tolist())
    road, asphalt = (8.6, 12.2), rng.uniform(75, 105)
    _band(image, camera, *road, (asphalt + 4, asphalt, asphalt))
    middle = sum(road) / 2
    for x in np.arange(-24, 24, 2.4):
        _band(image, camera, middle - 0.07, middle + 0.07, (225, 230, 230), x, x + 1.2)
    left = rng.uniform(-4.2, 1.8)
    crossing = (left, left + 2.4)
    for x in np.arange(*crossing, 0.6):
        _band(image, camera, road[0] + 0.1, road[1] - 0.1, (225, 230, 232), x, x + 0.32)
    for z in road:
        _ground_line(image, camera, (-60, z), (60, z), (200, 200, 200), 2 * size / 224)
    walk = [(6.8, 8.2), (12.6, 14.8)]
    return Backdrop("street", image, camera, walk, road, crossing, [("lamp", rng.uniform(-6, 6), 12.4)])


def _park(rng, camera, size):
    image = np.full((size, size, 3), 128, np.float32)
    _sky(image, rng, camera.horizon)
    _tree_line(image, rng, camera.horizon)
    grass = np.array([62, 128, 92.0]) + rng.uniform(-14, 14, 3)
    _band(image, camera, 3, 400, grass.tolist())
    image += _noise(rng, size, 24, 7) * (np.arange(size) > camera.horizon * size)[:, None, None]
    path = (np.array([140, 172, 190.0]) + rng.uniform(-12, 12, 3)).tolist()
    _band(image, camera, 7.4, 11.0, path)
    _band(image, camera, 7.4, 60, path, -1.4 + (bend := rng.uniform(-3, 3)), 1.4 + bend)
    occluders = [("tree", rng.uniform(-5, 5), rng.uniform(11.2, 15)) for _ in range(rng.integers(1, 4))]
    return Backdrop(
        "park", image, camera, [(7.4, 13.0)], occluders=[*occluders, ("bench", rng.uniform(-4, 4), 11.4)]
    )


def _parking(rng, camera, size):
    image = np.full((size, size, 3), 128, np.float32)
    _sky(image, rng, camera.horizon)
    _buildings(image, rng, camera.horizon, tall=0.7)
    tar = rng.uniform(95, 125)
    _band(image, camera, 3, 400, (tar + 5, tar + 2, tar))
    for x in np.arange(-14, 15, 2.8):
        _ground_line(image, camera, (x, 13.4), (x * 1.02, 18), (215, 220, 220), 2 * size / 224)
    _ground_line(image, camera, (-60, 13.4), (60, 13.4), (215, 220, 220), 2 * size / 224)
    parked = [(x + 1.4, 15.6) for x in np.arange(-14, 13, 2.8) if rng.random() < 0.6]
    return Backdrop(
        "parking lot",
        image,
        camera,
        [(7.2, 12.6)],
        occluders=[("lamp", rng.uniform(-5, 5), 13.2)],
        parked=parked,
    )


def _station(rng, camera, size):
    wall = np.array([170, 185, 190.0]) + rng.uniform(-25, 20, 3)
    image = np.full((size, size, 3), wall, np.float32)
    floor = np.array([150, 150, 150.0]) + rng.uniform(-20, 25, 3)
    _band(image, camera, 3, 17, floor.tolist())
    edge = int(camera.project(0, 17)[1] * size)
    for x in range(0, size, size // 5):
        poster = rng.uniform(50, 220, 3).tolist()
        cv2.rectangle(
            image, (x + size // 24, edge - size // 7), (x + size // 7, edge - size // 36), poster, -1
        )
    cv2.rectangle(image, (0, edge - size // 60), (size, edge), (wall * 0.6).tolist(), -1)
    _band(image, camera, 14.2, 14.6, (60, 205, 235))
    for x in np.arange(-20, 21, 2.0):
        _ground_line(image, camera, (x, 4), (x, 17), (floor * 0.9).tolist(), size / 224)
    occluders = [("pillar", x + rng.uniform(-0.5, 0.5), 12.8) for x in (-4.5, 4.0)]
    return Backdrop("station", image, camera, [(7.2, 12.2)], occluders=occluders)


BACKDROPS = {"plaza": _plaza, "street": _street, "park": _park, "parking lot": _parking, "station": _station}


def make_backdrop(name: str, rng: np.random.Generator, size: int) -> Backdrop:
    """Paint the place `name` as a (size, size, 3) uint8 BGR picture with a camera drawn from `rng`."""
    camera = Camera(rng.uniform(0.16, 0.24), rng.uniform(1.35, 1.55), rng.uniform(3.3, 3.7))
    place = BACKDROPS[name](rng, camera, size)
    # A lens darkens towards its corners, and a sensor is noisy.
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    vignette = 1 - 0.22 * (axis[:, None] ** 2 + axis[None, :] ** 2)[..., None]
    place.image = ((place.image + _noise(rng, size, 12, 4)) * vignette).clip(0, 255).astype(np.uint8)
    return place


class Weather:
    """Light and weather over finished frames, at output resolution. One instance a clip: drops fall, lamps
    stay."""

    def __init__(self, kind: str, rng: np.random.Generator, camera: Camera, size: int):
        self.kind, self.size = kind, size
        rows = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        depth = camera.focal * camera.height / np.maximum(rows - camera.horizon, 0.03)
        self.veil = (1 - np.exp(-depth / rng.uniform(11, 16))) * 0.85 if kind == "fog" else None
        self.drops = rng.uniform(0, 1, (90, 3)) if kind == "rain" else None
        self.light = self._lamps(rng) if kind == "night" else None
        self.gain = float(rng.uniform(0.9, 1.08)) if kind == "day" else 0.82 if kind == "rain" else 1.0

    def _lamps(self, rng):
        """Multiplicative light of a few street lamps over a dark blue night, (size, size, 3)."""
        grid = np.linspace(0, 1, self.size, dtype=np.float32)
        light = np.full((self.size, self.size), 0.34, np.float32)
        for _ in range(rng.integers(2, 4)):
            u, v, r = rng.uniform(0.1, 0.9), rng.uniform(0.4, 0.9), rng.uniform(0.18, 0.34)
            light += 0.55 * np.exp(-((grid[None] - u) ** 2 + 1.6 * (grid[:, None] - v) ** 2) / r**2)
        return light[..., None].clip(0, 1.05) * np.array([1.0, 0.9, 0.82], np.float32)

    def apply(self, frame: np.ndarray, index: int) -> np.ndarray:
        """Frame (size, size, 3) uint8 at step `index` -> the same frame in this weather."""
        if self.light is not None:
            return (frame * self.light).astype(np.uint8)
        if self.veil is not None:
            return (frame * (1 - self.veil) + 205 * self.veil).astype(np.uint8)
        if self.gain != 1.0:
            frame = cv2.convertScaleAbs(frame, alpha=self.gain)
        if self.drops is not None:
            length = max(2, self.size // 18)
            for u, v, speed in self.drops:
                x, y = int(u * self.size), int((v + index * (0.35 + speed * 0.3)) % 1 * self.size)
                cv2.line(frame, (x, y), (x - length // 4, y + length), (205, 200, 195), 1, cv2.LINE_AA)
        return frame


def draw_occluder(canvas: np.ndarray, camera: Camera, kind: str, x: float, z: float) -> None:
    """Draw street furniture into the 4-channel canvas with id 0: it hides what stands behind it."""
    size = canvas.shape[0]
    k = camera.scale(z) * size
    u, v = (c * size for c in camera.project(x, z))

    def box(dx0, dx1, y0, y1, colour):
        cv2.rectangle(
            canvas, (int(u + dx0 * k), int(v - y1 * k)), (int(u + dx1 * k), int(v - y0 * k)), (*colour, 0), -1
        )

    if kind == "lamp":
        box(-0.07, 0.07, 0, 4.2, (70, 70, 70))
        box(-0.4, 0.4, 4.1, 4.3, (190, 225, 235))
    elif kind == "pillar":
        box(-0.4, 0.4, 0, 5, (140, 150, 155))
        box(0.2, 0.4, 0, 5, (120, 128, 132))
    elif kind == "planter":
        box(-0.7, 0.7, 0, 0.55, (105, 110, 120))
        for dx in (-0.45, 0.0, 0.45):
            cv2.circle(canvas, (int(u + dx * k), int(v - 0.75 * k)), int(0.34 * k), (60, 120, 70, 0), -1)
    elif kind == "bench":
        box(-0.9, 0.9, 0.4, 0.5, (50, 85, 120))
        box(-0.9, 0.9, 0.7, 0.85, (50, 85, 120))
        for dx in (-0.75, 0.65):
            box(dx, dx + 0.1, 0, 0.7, (60, 60, 60))
    elif kind == "tree":
        box(-0.14, 0.14, 0, 1.6, (45, 70, 95))
        for dx, y, r in ((0, 2.6, 0.95), (-0.6, 2.1, 0.65), (0.6, 2.15, 0.7)):
            cv2.circle(
                canvas,
                (int(u + dx * k), int(v - y * k)),
                int(r * k),
                (48, int(105 + 14 * math.sin(7 * dx + x)), 58, 0),
                -1,
            )
    else:
        raise ValueError(f"unknown occluder {kind!r}")
