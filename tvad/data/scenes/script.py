"""What happens in a scene: who walks where, and the one anomaly, if any. Pure planning; nothing is drawn
here.

Thirteen anomaly classes; `OPEN_SET` keeps those of train, validation and test apart as UBnormal does
(Acsintoae et al., CVPR 2022).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tvad.data.scenes.actors import COLOURS, SKIN, Look, Pose
from tvad.data.scenes.world import Backdrop


@dataclass
class Actor:
    """One object over the T frames of a clip.

    `path` (T, 2) metres on the ground, `facing` (T,) radians, `poses` one a frame (None: not there),
    `anomalous` (T,) bool, `lift` (T,) metres above ground (thrown things), `age` (T,) 0..1 (smoke, fire).
    """

    kind: str
    path: np.ndarray
    facing: np.ndarray
    poses: list[Pose | None]
    anomalous: np.ndarray
    look: Look | None = None
    colour: str | None = None
    lift: np.ndarray | None = None
    age: np.ndarray | None = None


@dataclass
class Plan:
    """A whole clip before it is drawn. `culprit` indexes the actor that a description of the anomaly is
    about."""

    frames: int
    fps: float
    actors: list[Actor]
    category: str | None = None
    culprit: int | None = None
    facts: dict = field(default_factory=dict)


def _look(rng, carried=None):
    top, bottom = rng.choice(list(COLOURS), 2, replace=False)
    return Look(str(top), str(bottom), int(rng.integers(len(SKIN))), float(rng.uniform(1.62, 1.9)), carried)


def _moving(kind, path, poses, anomalous=None, **extra):
    """An actor that faces where it goes; where it stands it keeps its last heading."""
    path = np.asarray(path, float)
    step = np.gradient(path, axis=0)
    facing, last = np.empty(len(path)), 0.0
    speeds = np.hypot(*step.T)
    if speeds.max() > 1e-3:
        last = math.atan2(*step[speeds.argmax()][::-1])
    for i, (dx, dz) in enumerate(step):
        if speeds[i] > 0.02:
            last = math.atan2(dz, dx)
        facing[i] = last
    if anomalous is None:
        anomalous = np.zeros(len(path), bool)
    return Actor(kind, path, facing, poses, np.asarray(anomalous, bool), **extra)


def _gait(path, fps, rng, stride=0.5, bend=0.7, cadence=4.2):
    """Walking poses whose phase follows the distance covered."""
    travelled = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(np.asarray(path), axis=0).T))])
    still = np.append(np.diff(travelled), travelled[-1] - travelled[-2]) < 0.02
    start = rng.uniform(0, 6)
    return [
        Pose(start + cadence * d, 0.06 if s else stride, bend, lean=0.0 if s else 0.05)
        for d, s in zip(travelled, still, strict=True)
    ]


def _zone(rng, place: Backdrop, margin=0.4):
    near, far = place.walk[int(rng.integers(len(place.walk)))]
    return float(rng.uniform(near + margin, far - margin))


def _straight(frames, fps, start, velocity):
    t = np.arange(frames)[:, None] / fps
    return np.asarray(start) + t * np.asarray(velocity)


def _through(rng, place, z, frames, fps, speed, at, u=None):
    """A path along X at depth z, in either direction, that passes picture position u (0..1) at frame `at`."""
    u = rng.uniform(0.3, 0.7) if u is None else u
    x = (u - 0.5) * 2 * place.camera.half_width(z)
    vx = speed * rng.choice([-1.0, 1.0])
    vz = rng.uniform(-0.12, 0.12) * speed
    return _straight(frames, fps, (x - vx * at / fps, z - vz * at / fps), (vx, vz))


def walker(rng, place: Backdrop, frames, fps) -> Actor:
    """A pedestrian who does nothing unusual."""
    carried = str(rng.choice(["backpack", "suitcase"])) if rng.random() < 0.3 else None
    if place.crossing and place.road and rng.random() < 0.25:  # over the zebra crossing
        x = rng.uniform(place.crossing[0] + 0.4, place.crossing[1] - 0.4)
        up = rng.random() < 0.5
        z = place.road[0] - 0.6 + rng.uniform(0, 2) if up else place.road[1] + 0.6 - rng.uniform(0, 2)
        path = _straight(frames, fps, (x, z), (0, (1 if up else -1) * rng.uniform(0.7, 1.0)))
    else:
        path = _through(
            rng,
            place,
            _zone(rng, place),
            frames,
            fps,
            rng.uniform(0.6, 1.1),
            frames // 2,
            rng.uniform(0.0, 1.0),
        )
    return _moving("person", path, _gait(path, fps, rng), look=_look(rng, carried))


def chatters(rng, place, frames, fps) -> list[Actor]:
    """Two people who stand and talk."""
    z = _zone(rng, place)
    x = rng.uniform(-0.8, 0.8) * place.camera.half_width(z)
    pair = []
    for dx, facing in ((-0.45, 0.0), (0.45, math.pi)):
        start = rng.uniform(0, 6)
        poses: list[Pose | None] = [
            Pose(start, 0.08, near_arm=0.3 + 0.2 * math.sin(start + 1.3 * i)) for i in range(frames)
        ]
        pair.append(
            Actor(
                "person",
                np.tile([x + dx, z], (frames, 1)),
                np.full(frames, facing),
                poses,
                np.zeros(frames, bool),
                _look(rng),
            )
        )
    return pair


def road_car(rng, place, frames, fps) -> Actor:
    """A car on the road, where cars belong."""
    lane = place.road[0] + (place.road[1] - place.road[0]) * (0.27 if rng.random() < 0.5 else 0.75)
    path = _through(
        rng, place, lane, frames, fps, rng.uniform(3, 5), rng.integers(frames), rng.uniform(0.2, 0.8)
    )
    path[:, 1] = lane
    return _moving("car", path, [Pose()] * frames, colour=str(rng.choice(list(COLOURS))))


# Each anomaly: (rng, place, frames, fps, onset, end) -> actors, the culprit first. Frames onset..end-1 are
# anomalous.


def _window(frames, onset, end):
    index = np.arange(frames)
    return (index >= onset) & (index < end)


def running(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    walk, run = rng.uniform(0.4, 0.7), rng.uniform(2.0, 2.8)
    speed = np.where(_window(frames, onset, end), run, walk) * rng.choice([-1.0, 1.0])
    x = np.cumsum(speed) / fps
    # The run's middle lies inside the picture.
    x += (rng.uniform(0.35, 0.65) - 0.5) * 2 * place.camera.half_width(z) - x[(onset + end) // 2]
    path = np.stack([x, np.full(frames, z)], 1)
    poses = _gait(path, fps, rng)
    for i in range(onset, end):
        poses[i] = Pose(poses[i].phase, 0.95, 1.5, lean=0.2)
    return [_moving("person", path, poses, _window(frames, onset, end), look=_look(rng))]


def cycling(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    look, middle = _look(rng), (onset + end) // 2
    speed = max(2.2, 2.4 * place.camera.half_width(z) / ((end - onset) / fps))
    path = _through(rng, place, z, frames, fps, min(speed, 4.5), middle, rng.uniform(0.4, 0.6))
    phase = rng.uniform(0, 6)
    poses = [Pose(phase + 1.9 * i) for i in range(frames)]
    return [_moving("bicycle", path, poses, np.ones(frames, bool), look=look)]


def vehicle_intrusion(rng, place, frames, fps, onset, end):
    z = _zone(rng, place, 1.2)
    speed = 2.6 * place.camera.half_width(z) / ((end - onset) / fps)
    path = _through(
        rng, place, z, frames, fps, float(np.clip(speed, 2.5, 6)), (onset + end) // 2, rng.uniform(0.4, 0.6)
    )
    return [
        _moving("car", path, [Pose()] * frames, np.ones(frames, bool), colour=str(rng.choice(list(COLOURS))))
    ]


def falling(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    path = _through(rng, place, z, frames, fps, rng.uniform(0.6, 0.9), onset, rng.uniform(0.25, 0.75))
    path[onset:] = path[onset]
    poses = _gait(path, fps, rng)
    for i in range(onset, frames):
        tilt = min(1.0, (i - onset + 1) / max(1.0, 0.5 * fps)) * 1.45
        poses[i] = Pose(poses[onset].phase, 0.35, tilt=tilt, near_arm=1.2)
    return [_moving("person", path, poses, _window(frames, onset, frames), look=_look(rng))]


def fighting(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    x = rng.uniform(-0.55, 0.55) * place.camera.half_width(z)
    speed, pair = rng.uniform(0.7, 1.0), []
    for turn in (1, -1):
        t = (np.arange(frames) - onset) / fps
        px = x - turn * (0.34 + speed * np.maximum(0, -t))
        px += np.where(t >= 0, 0.12 * np.sin(5.1 * t + turn), 0)
        path = np.stack([px, np.full(frames, z)], 1)
        poses = _gait(path, fps, rng)
        for i in range(onset, frames):
            hit = (i + (turn > 0)) % 2
            poses[i] = Pose(
                rng.uniform(0, 6),
                0.45,
                near_arm=1.9 if hit else 0.7,
                far_arm=0.6 if hit else 1.7,
                lean=0.2 if hit else 0.05,
            )
        actor = _moving("person", path, poses, _window(frames, onset, frames), look=_look(rng))
        actor.facing[:] = 0.0 if turn > 0 else math.pi
        pair.append(actor)
    return pair


def jaywalking(rng, place, frames, fps, onset, end):
    near, far = place.road
    width = place.camera.half_width((near + far) / 2) * 0.8
    for _ in range(20):
        x = rng.uniform(-width, width)
        if not place.crossing[0] - 0.8 < x < place.crossing[1] + 0.8:
            break
    up = rng.random() < 0.5
    speed = (far - near) / max(1.0, (end - onset) / fps)
    speed = float(np.clip(speed, 0.9, 1.6))
    t = (np.arange(frames) - onset) / fps
    z = near + speed * t if up else far - speed * t
    z = np.clip(z, near - 1.2, far + 1.6)
    path = np.stack([np.full(frames, x), z], 1)
    on_road = (z >= near) & (z <= far)
    return [_moving("person", path, _gait(path, fps, rng), on_road, look=_look(rng))]


def loitering(rng, place, frames, fps, onset, end):
    """Comes and sits down on the ground. (Pacing to and fro would look like walking to any model that sees
    half a second at a time.)"""
    z = _zone(rng, place)
    x = rng.uniform(-0.5, 0.5) * place.camera.half_width(z)
    direction = rng.choice([-1.0, 1.0])
    t = (np.arange(frames) - onset) / fps
    path = np.stack([x + 0.9 * np.minimum(t, 0) * direction, np.full(frames, z)], 1)
    poses = _gait(path, fps, rng)
    for i in range(onset, frames):
        poses[i] = Pose(sit=True, lean=0.03 * math.sin(1.3 * i))
    actor = _moving("person", path, poses, _window(frames, onset, frames), look=_look(rng))
    actor.facing[:] = 0.0 if direction > 0 else math.pi
    return [actor]


def abandoned_object(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    path = _through(rng, place, z, frames, fps, rng.uniform(0.9, 1.2), onset, rng.uniform(0.3, 0.7))
    owner = _moving("person", path, _gait(path, fps, rng), look=_look(rng, "suitcase"))
    owner.facing[:] = owner.facing[0]
    for pose in owner.poses[onset:]:
        pose.empty_handed = True
    spot = path[onset] - [0.25 * math.copysign(1, math.cos(owner.facing[0])), 0.05]
    there = [Pose() if i >= onset else None for i in range(frames)]
    left = Actor("bag", np.tile(spot, (frames, 1)), np.zeros(frames), there, _window(frames, onset, frames))
    return [left, owner]


def throwing(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    direction = rng.choice([-1.0, 1.0])
    x = -direction * rng.uniform(0.15, 0.6) * place.camera.half_width(z)
    end = min(frames, onset + max(4, min(end - onset, int(1.75 * fps))))
    facing = 0.0 if direction > 0 else math.pi
    poses = [Pose(0.3, 0.1) for _ in range(frames)]
    for i in range(onset, end):
        poses[i] = Pose(0.5, 0.4, near_arm=2.7 - 1.6 * min(1, (i - onset) / 2), lean=0.15)
    thrower = Actor(
        "person",
        np.tile([x, z], (frames, 1)),
        np.full(frames, facing),
        poses,
        _window(frames, onset, end),
        _look(rng),
    )
    t = (np.arange(frames) - onset) / fps
    flight = (end - onset) / fps
    object_path = np.stack(
        [x + direction * (0.4 + 2.3 * np.clip(t, 0, flight)), np.full(frames, z - 0.05)], 1
    )
    lift = np.maximum(0.1, 1.9 + 2.6 * t - (4.5 / flight + 0.0) * t**2 * (2.6 / 4.5 + 1.9 / (4.5 * flight)))
    there = [Pose() if onset <= i < end else None for i in range(frames)]
    return [
        thrower,
        Actor("thrown", object_path, np.zeros(frames), there, _window(frames, onset, end), lift=lift),
    ]


def _plume(kind):
    def plan(rng, place, frames, fps, onset, end):
        z = _zone(rng, place)
        x = rng.uniform(-0.6, 0.6) * place.camera.half_width(z)
        there = [Pose(float(rng.integers(1 << 30))) if i >= onset else None for i in range(frames)]
        age = np.clip((np.arange(frames) - onset + 2) / (1.8 * fps), 0, 1)
        return [
            Actor(
                kind,
                np.tile([x, z], (frames, 1)),
                np.zeros(frames),
                there,
                _window(frames, onset, frames),
                age=age,
            )
        ]

    return plan


def crawling(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    path = _through(
        rng, place, z, frames, fps, rng.uniform(0.35, 0.6), (onset + end) // 2, rng.uniform(0.25, 0.75)
    )
    poses = _gait(path, fps, rng)
    for i in range(onset, end):
        poses[i] = Pose(1.7 * i, crawl=True)
    return [_moving("person", path, poses, _window(frames, onset, end), look=_look(rng))]


def jumping(rng, place, frames, fps, onset, end):
    z = _zone(rng, place)
    path = _through(
        rng, place, z, frames, fps, rng.uniform(0.1, 0.4), (onset + end) // 2, rng.uniform(0.2, 0.8)
    )
    poses = _gait(path, fps, rng)
    for i in range(onset, end):
        up = abs(math.sin(2.0 * (i - onset) + 0.9))
        poses[i] = Pose(0.4, 0.5 * up, 0.9 * up, lift=0.75 * up, near_arm=2.8 * up, far_arm=2.5 * up)
    return [_moving("person", path, poses, _window(frames, onset, end), look=_look(rng))]


ANYWHERE = ("plaza", "street", "park", "parking lot", "station")
OPEN_GROUND = ("plaza", "park", "station")
ANOMALIES: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "running": (running, ANYWHERE),
    "cycling": (cycling, OPEN_GROUND),
    "vehicle intrusion": (vehicle_intrusion, OPEN_GROUND),
    "falling": (falling, ANYWHERE),
    "fighting": (fighting, ANYWHERE),
    "jaywalking": (jaywalking, ("street",)),
    "loitering": (loitering, ANYWHERE),
    "abandoned object": (abandoned_object, ANYWHERE),
    "throwing": (throwing, ANYWHERE),
    "smoke": (_plume("smoke"), ANYWHERE),
    "fire": (_plume("fire"), ANYWHERE),
    "crawling": (crawling, ANYWHERE),
    "jumping": (jumping, ANYWHERE),
}
OPEN_SET = {
    "train": ("running", "cycling", "falling", "fighting", "abandoned object", "smoke"),
    "val": ("crawling", "vehicle intrusion", "loitering"),
    "test": ("jaywalking", "throwing", "fire", "jumping"),
}

# What a single look tells, by day and on open ground: scenes that a model trained for minutes can learn.
CORE_PLACES = ("plaza", "station")
CORE = ("cycling", "vehicle intrusion", "falling", "crawling", "smoke", "fire")
SETTINGS = ("closed", "open", "core")


def classes_of(setting: str, split: str) -> tuple[str, ...]:
    """Anomaly classes of a split. `setting`: "closed" (all classes everywhere), "open" (disjoint over the
    splits) or "core" (the classes that are plain to see, everywhere)."""
    if setting == "closed":
        return tuple(ANOMALIES)
    if setting == "core":
        return CORE
    if setting == "open":
        return OPEN_SET[split]
    raise ValueError(f"setting must be one of {', '.join(SETTINGS)}, not {setting!r}")


def make_plan(
    rng: np.random.Generator, place: Backdrop, category: str | None, frames: int, fps: float, crowd: int
) -> Plan:
    """Plan one clip at `place`: `crowd` ordinary people, cars where there is a road, and the anomaly
    `category`."""
    actors: list[Actor] = []
    culprit = None
    if category is not None:
        onset = int(rng.integers(0, max(1, int(frames * 0.55))))
        end = min(frames, onset + int(rng.integers(max(3, frames // 3), frames)))
        actors = ANOMALIES[category][0](rng, place, frames, fps, onset, end)
        culprit = 0
    people = 0
    while people < crowd:
        if crowd - people >= 2 and rng.random() < 0.2:
            actors += chatters(rng, place, frames, fps)
            people += 2
        else:
            actors.append(walker(rng, place, frames, fps))
            people += 1
    if place.road and rng.random() < 0.7:
        actors.append(road_car(rng, place, frames, fps))
    return Plan(frames, fps, actors, category, culprit)
