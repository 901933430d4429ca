"""Several sources, one model: windows are scored as they fill, steps that no earlier window showed are judged
by a rule of two thresholds, alarms are told as they begin and end."""

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tvad.common.errors import InputError
from tvad.common.files import json_text, write_whole
from tvad.common.formats import Format
from tvad.scores import PER_STEP, REACH, By, Episode, Hysteresis, Rule, smoothed
from tvad.use.subclips import Step, Steps, look, strongest_boxes, way
from tvad.use.watching.alarms import Sink
from tvad.use.watching.camera import Camera, View

FORMAT = Format("tvad-watch")
EVERY = 5.0  # seconds between two states of the counters' file
LOOK = 0.2  # seconds between looks at whether to end


class Judge:
    """The scores of one source, as they come, and its alarms. smooth: seconds, of past scores alone."""

    def __init__(self, rule: Rule, smooth: float, by: By, rate: float):
        self._state, self._smooth, self._by, self._length = Hysteresis(rule), smooth, by, PER_STEP / rate
        self._past: deque[tuple[float, float]] = deque()
        self._until = -np.inf  # of the last step that was judged
        self._part = 0

    def judge(self, steps: Sequence[Step], part: int) -> Iterator[tuple[str, str, Episode, Step | None]]:
        """("on" or "off", why, episode, step) of what a window's steps bring; part: of which connection."""
        if part != self._part:  # nobody knows what was between: what was open ends, scores are not mixed
            yield from self.close("cut")
            self._past.clear()
            self._part = part
        for step in steps:
            if step.centre < self._until:
                continue  # an earlier window has shown it
            # As `cells` has it.
            start, self._until = max(0.0, step.centre - self._length / 2), step.centre + self._length / 2
            if found := self._state.feed(start, self._until, self._smoothed(step)):
                yield found[0], "score", found[1], step

    def _smoothed(self, step: Step) -> float:
        score = step.score(self._by)
        if self._smooth == 0:
            return score
        self._past.append((step.centre, score))
        while self._past[0][0] < step.centre - REACH * self._smooth - 1e-6:
            self._past.popleft()
        times, scores = np.array(self._past).T
        return float(smoothed(scores, times, self._smooth, past=True)[-1])

    def close(self, why: str) -> Iterator[tuple[str, str, Episode, Step | None]]:
        """End what is open."""
        if found := self._state.close():
            yield found[0], why, found[1], None


@dataclass(frozen=True)
class Watch:
    """What is done with windows: `batch` of them are scored together, by one of `tvad.use.subclips.RULES`;
    counters: a file for what is counted; seconds: after which it ends, None for as long as sources last."""

    rule: Rule
    smooth: float = 0.0
    by: By | None = None
    batch: int = 8
    counters: str | None = None
    seconds: float | None = None


@contextmanager
def ending() -> Iterator[threading.Event]:
    """What is set by SIGINT and SIGTERM, which end nothing by themselves within the block."""
    stop = threading.Event()
    before = {n: signal.signal(n, lambda *_: stop.set()) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watcher:
    """Looks at sources until they end, or `stop` is set. sources: (name, address) pairs."""

    def __init__(
        self,
        model,
        processor,
        sources: Sequence[tuple[str, str]],
        view: View,
        plan: Watch,
        sinks: Sequence[Sink],
        stop: threading.Event,
    ):
        self._model, self._processor, self._plan, self._sinks = model, processor, plan, sinks
        self._view, self._stop, self._woken = view, stop, threading.Event()
        self._by = way(model, plan.by)
        self.cameras = [Camera(name, source, view, stop, self._woken) for name, source in sources]
        self._judges = {c.name: Judge(plan.rule, plan.smooth, self._by, view.rate) for c in self.cameras}
        self._done: set[str] = set()  # sources whose last window was judged
        self._began = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Watch; what was counted."""
        for camera in self.cameras:
            camera.start()
        told = self._began
        try:
            while not self._over():
                self._woken.clear()
                if not self._round():
                    if all(camera.ended for camera in self.cameras):
                        break
                    self._woken.wait(LOOK)
                if time.monotonic() - told > EVERY:
                    told = time.monotonic()
                    self._write()
        finally:
            why = "stopped" if self._over() else "end"
            self._stop.set()
            for camera in self.cameras:
                for event in self._judges[camera.name].close(why):
                    self._tell(camera, *event)
            for camera in self.cameras:
                camera.join()
            for sink in self._sinks:
                sink.close()
            self._write()
        return self.counted()

    def _over(self) -> bool:
        limit = self._plan.seconds
        return self._stop.is_set() or (limit is not None and time.monotonic() - self._began > limit)

    def _round(self) -> bool:
        """Score one window of every source that has one, those of one shape together; whether there was
        one."""
        found = []
        for camera in self.cameras:
            ended = camera.ended  # looked at first: what came before its end is seen
            if (window := camera.window()) is not None:
                found.append((camera, window))
            elif ended and camera.name not in self._done:
                self._done.add(camera.name)
                for event in self._judges[camera.name].close("end"):
                    self._tell(camera, *event)
        for shape in dict.fromkeys(window[0].images.shape for _, window in found):
            alike = [(c, w) for c, w in found if w[0].images.shape == shape]
            for n in range(0, len(alike), self._plan.batch):
                self._score(alike[n : n + self._plan.batch])
        return bool(found)

    def _score(self, group: list) -> None:
        clips = [frames for _, (frames, _, _) in group]
        scored, heats = look(self._model, self._processor, clips, self._by)
        now = time.monotonic()
        for n, (camera, (frames, arrived, part)) in enumerate(group):
            camera.counters.windows_scored += 1
            camera.counters.latency.append(now - arrived)
            steps = Steps()
            steps.add(frames, None if heats is None else heats[n], scored[n].judged)
            for event in self._judges[camera.name].judge(steps.final(), part):
                self._tell(camera, *event, latency=now - arrived, seen=float(frames.times[-1]))

    def _tell(
        self,
        camera: Camera,
        event: str,
        why: str,
        episode: Episode,
        step: Step | None,
        latency: float = 0.0,
        seen: float = 0.0,
    ) -> None:
        if event == "on":
            camera.counters.alarms += 1
        alarm: dict[str, Any] = {
            "event": event,
            "source": camera.name,
            "number": camera.counters.alarms,  # an alarm ends before the next begins
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "start": round(episode.start, 3),
        }
        if event == "on":
            boxes = np.empty((0, 5)) if step is None else strongest_boxes(step.boxes)
            alarm |= {
                "raised": round(episode.raised or episode.end, 3),
                "score": round(episode.peak, 4),
                "told": round(seen + latency, 3),  # on the source's clock: what a control room waits for
                "latency": round(latency, 3),
                "boxes": [[*map(int, box[:4]), round(float(box[4]), 4)] for box in boxes],
            }
        else:
            alarm |= {
                "end": round(episode.end, 3),
                "peak": round(episode.peak, 4),
                "peak_at": round(episode.peak_at, 3),
                "reason": why,
            }
        for sink in self._sinks:
            sink.tell(alarm)

    def counted(self) -> dict[str, Any]:
        """What the counters' file holds."""
        plan, view = self._plan, self._view
        return {
            **FORMAT.stamp(),
            "seconds": round(time.monotonic() - self._began, 3),
            "settings": {
                "rate": view.rate,
                "window_seconds": view.window / view.rate,
                "stride_seconds": view.stride / view.rate,
                "waiting_frames": view.waiting,
                "by": self._by,
                "smooth_seconds": plan.smooth,
                "on": plan.rule.on,
                "off": plan.rule.low,
                "least_seconds": plan.rule.least,
                "cooldown_seconds": plan.rule.cooldown,
            },
            "sources": {c.name: c.counters.as_json() | {"failed": c.failed or None} for c in self.cameras},
            "told": [sink.counts for sink in self._sinks],
        }

    def _write(self) -> None:
        if self._plan.counters is None:
            return
        try:
            text = json_text(self.counted(), self._plan.counters, indent=1, ensure_ascii=False)
            write_whole(self._plan.counters, text + "\n")
        except (OSError, InputError) as error:  # a full disk ends no watch, and a folder that is gone neither
            why = error.strerror if isinstance(error, OSError) else error
            print(f"{self._plan.counters}: could not be written ({why})", file=sys.stderr)


def table(counted: dict[str, Any]) -> str:
    """What was counted, for a terminal."""
    columns = {
        "read": "frames_read",
        "sampled": "frames_sampled",
        "dropped": "frames_dropped",
        "windows": "windows_scored",
        "alarms": "alarms",
        "reconnected": "reconnections",
        "p50 s": "latency_p50",
        "p95 s": "latency_p95",
    }
    wide = max(6, *map(len, counted["sources"]))
    lines = ["source".ljust(wide) + "".join(f"{name:>13}" for name in columns)]
    for name, numbers in counted["sources"].items():
        cells = ("-" if numbers[key] is None else str(numbers[key]) for key in columns.values())
        lines.append(name.ljust(wide) + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)
