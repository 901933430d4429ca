"""One source of `tvad watch`: a thread that reads it, a bounded queue of which the newest frames stay, the
windows that slide over it, and what is counted."""

import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tvad.common.errors import InputError
from tvad.data import video
from tvad.data.video import Clock, Frames
from tvad.data.video.live import Live, kind_of, shown
from tvad.scores import PER_STEP
from tvad.use.infer import check_count

LATENCIES = 10_000  # windows of which latencies are kept, the last ones
FIRST, MOST = 1.0, 30.0  # seconds between connections: doubled from the first to the most


@dataclass
class Counters:
    """frames_read: decoded; frames_sampled: those of them that were taken, at the rate; frames_dropped: of
    these, the ones that no window showed, since it could not keep up, the connection was cut, or one was left
    alone at the end; failures:
    connections that were refused, ended by an error or sent no video; reconnections: after which frames came
    again; latency: seconds from a window's last frame to its score."""

    frames_read: int = 0
    frames_sampled: int = 0
    frames_dropped: int = 0
    windows_scored: int = 0
    alarms: int = 0
    failures: int = 0
    reconnections: int = 0
    latency: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES))

    def as_json(self) -> dict[str, Any]:
        numbers = {k: v for k, v in vars(self).items() if k != "latency"}
        middle, high = np.percentile(self.latency, [50, 95]).tolist() if self.latency else (None, None)
        return {
            **numbers,
            "latency_p50": None if middle is None else round(middle, 3),
            "latency_p95": None if high is None else round(high, 3),
        }


@dataclass(frozen=True)
class Held:
    """A sampled frame: of which connection, its seconds, when it arrived (of time.monotonic)."""

    part: int
    seconds: float
    arrived: float
    image: np.ndarray


@dataclass(frozen=True)
class View:
    """How sources are looked at: frames a second, frames of a window, frames from one to the next, frames
    that may wait behind a window's own; seconds to wait for a source; how often one that failed is tried
    again in a row, None without end; of RTSP, whether it is waited for; how many times as fast files are
    played."""

    rate: float
    window: int
    stride: int
    waiting: int
    patience: float = 10.0
    retries: int | None = None
    listen: bool = False
    speed: float = 1.0


class Camera:
    """name: what it is called in alarms; source: as `kind_of` tells; woken: set whenever a frame has come;
    `ended`: nothing more will come; `failed`: and why, where that is a failure."""

    def __init__(self, name: str, source: str, view: View, stop: threading.Event, woken: threading.Event):
        self.name, self.view, self.counters = name, view, Counters()
        self.ended, self.failed = False, ""
        self._source, self._kind, self._stop, self._woken = source, kind_of(source), stop, woken
        self._held: deque[Held] = deque()
        self._seen = 0  # of those held, from the front, how many a window has shown
        self._lock = threading.Lock()
        self._begin: float | None = None
        self._part, self._due, self._last = 0, 0.0, -np.inf
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait until it has let its source go, at most as long as it may wait for it."""
        self._thread.join(self.view.patience + 1)

    def _say(self, text: str) -> None:
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._say(text)

    def _run(self) -> None:
        try:
            if self._kind == "file":
                self._play()
            else:
                self._connect()
        except InputError as error:
            self.counters.failures += 1
            self.failed = str(error)
            self._say(self.failed)
        except Exception as error:  # whatever a stranger sends, the other sources go on
            self.counters.failures += 1
            self.failed = f"{type(error).__name__}: {error}"
            self._say(self.failed)
        finally:
            self.ended = True
            self._woken.set()

    def _play(self) -> None:
        """A file at its own speed."""
        with video.Reader(self._source) as reader:
            begin = time.monotonic()
            for _, _, moment, image in reader.sampled(self.view.rate):
                late = begin + moment / self.view.speed - time.monotonic()
                if self._stop.wait(max(0.0, late)):
                    return
                self.counters.frames_read = reader.total
                self._put(moment, time.monotonic(), image)
            self.counters.frames_read = reader.total
            check_count(reader.name, self.counters.frames_sampled, self.view.rate)

    def _connect(self) -> None:
        """A connection after the other. Raises InputError where the last one that may be tried fails."""
        failed = 0
        while not self._stop.is_set():
            before = self.counters.frames_read
            live = Live(self._source, self._stop, self.view.patience, self.view.listen, self._say_once)
            why = "the connection ended"
            try:
                self._read(live)
            except InputError as error:
                why = str(error).removeprefix(f"{live.name}: ")
            except Exception as error:  # what a stranger sends ends nothing
                why = f"{type(error).__name__}: {error}"
            if self._stop.is_set():
                return
            came = self.counters.frames_read > before
            failed = 0 if came else failed + 1
            if self.view.retries is not None and failed > self.view.retries:
                raise InputError(f"{why}; given up after {failed} tries")  # `_run` counts it
            self.counters.failures += why != "the connection ended" or not came
            pause = min(MOST, FIRST * 2 ** max(0, min(failed, 30) - 1))
            self._say(f"{why}; again in {pause:g} s")
            self._stop.wait(pause)

    def _read(self, live: Live) -> None:
        step, fresh, start = 1 / self.view.rate, True, 0.0
        for seconds, make in live.frames():
            now = time.monotonic()
            if fresh:  # counted on by what has passed since the first connection's first frame
                self._begin = now if self._begin is None else self._begin
                # A source that sends faster than it claims is ahead of that: time never goes back.
                start, fresh = max(now - self._begin, self._last + step), False
                self._part += 1
                self.counters.reconnections += self._part > 1
                self._due = start
            self.counters.frames_read += 1
            seconds += start
            self._last = max(self._last, seconds)
            if seconds >= self._due - 1e-6:
                # The first frame at or after a moment stands for it; a source slower than the rate is taken
                # as it comes.
                moment = self._due if seconds - self._due < step else seconds
                self._due = moment + step
                self._put(moment, now, make())

    def _put(self, seconds: float, arrived: float, image: np.ndarray) -> None:
        with self._lock:
            self.counters.frames_sampled += 1
            self._held.append(Held(self._part, seconds, arrived, image))
            while len(self._held) > self.view.window + self.view.waiting:
                self._drop()
        self._woken.set()

    def _drop(self) -> None:
        """Let the oldest go."""
        self._held.popleft()
        self.counters.frames_dropped += not self._seen
        self._seen = max(0, self._seen - 1)

    def window(self) -> tuple[Frames, float, int] | None:
        """The next window, when its last frame arrived, of which connection; None while there is none. Of a
        file that has ended the last one ends with it."""
        size, ended = self.view.window, self.ended
        with self._lock:
            # A window is of one connection.
            while self._held and self._held[0].part != self._held[min(size, len(self._held)) - 1].part:
                self._drop()
            found = list(self._held)[:size]
            if len(found) == size:
                for _ in range(self.view.stride):
                    self._held.popleft()
                self._seen = size - self.view.stride
            elif ended:
                fresh = len(found) - self._seen
                self._held.clear()
                self._seen = 0
                if len(found) < PER_STEP:  # no model takes one alone
                    self.counters.frames_dropped += fresh
                    fresh = 0
                if fresh < 1:
                    return None
            else:
                return None
        return self._frames(found), found[-1].arrived, found[0].part

    def _frames(self, found: list[Held]) -> Frames:
        times = np.array([held.seconds for held in found])
        rate = self.view.rate
        clock = Clock.constant(len(found), rate)
        count = np.arange(len(found))
        images = np.stack([held.image for held in found])
        return Frames(images, times, count, rate, len(found), times, clock, self.name)


def named(sources: list[str]) -> Iterator[tuple[str, str]]:
    """(name, source) of each, given as SOURCE or NAME=SOURCE. Raises InputError for a name that is there
    twice."""
    taken: set[str] = set()
    for given in sources:
        match = None if os.path.exists(given) else re.fullmatch(r"([\w.-]+)=(.+)", given)
        source = match[2] if match else given
        name = match[1] if match else os.path.basename(source) if kind_of(source) == "file" else shown(source)
        if name in taken:
            raise InputError(f"{name}: two sources of this name; give one as NAME=SOURCE")
        taken.add(name)
        yield name, source
