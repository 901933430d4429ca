"""Phases of a private split. While one lasts nothing that depends on its labels is given out: with n balanced
labels a single comparison bit is worth about 0.8 sqrt(n)/2 of them, so no rounding holds a year of questions
(tests/perf/leaderboard_leak.py). At its end its labels count as spent, what stands is shown
(`leaderboard.store.disclosure`), and other clips are asked.

BOARD/private/NAME/phases.json holds them, BOARD/private/NAME/phase-N the clips of a rendered one."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from pathlib import Path

from tvad.common.files import made, write_whole

PHASES = "phases.json"


def _utc() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


clock: Callable[[], datetime] = _utc  # the one clock of a board and its store; a simulation sets another


def now() -> datetime:
    """UTC without a zone: SQLite keeps none."""
    return clock()


def stamp(moment: datetime) -> str:
    """A moment of the board as other programs read it, to the second: ISO 8601, in UTC and saying so."""
    return moment.isoformat(timespec="seconds") + "Z"


@dataclass
class Phases:
    """How long a private split is asked, and how often one may answer it."""

    days: float = 90.0
    """Days that a phase lasts. Until it ends its scores are shown to nobody; then other clips are asked."""
    account: int = 40
    """Submissions with answers to the split that an account may send in its life."""
    family: int = 20
    """… of one model family: an account's models whose names differ by digits and marks only."""
    following: list[str] = field(default_factory=list)
    """Suite files of the phases after the first, for a split that is not rendered; after the last one the
    split is retired: no longer taken, its scores shown."""


@dataclass
class Phase:
    """One phase; times in ISO form, UTC. versions: {hash of a suite with its references: what it is called},
    of the suites that were asked in it."""

    number: int
    opened: str
    ends: str
    ended: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def end(self) -> datetime:
        """When it is to end. From then on nothing more is taken; it ends when what was taken is scored."""
        return datetime.fromisoformat(self.ends)

    @property
    def over(self) -> bool:
        """Whether its time has come."""
        return self.end <= now()


class Book:
    """The phases of one split, in its folder; several processes may use them at once."""

    def __init__(self, folder: Path, days: float):
        self.folder, self.days = folder, days

    def phases(self) -> list[Phase]:
        """All of them, oldest first; the last is the current one unless it has ended."""
        file = self.folder / PHASES
        return [Phase(**row) for row in json.loads(file.read_text())] if file.exists() else []

    @property
    def current(self) -> Phase | None:
        """The phase that is asked now; None before the first and after the last."""
        phases = self.phases()
        return phases[-1] if phases and phases[-1].ended is None else None

    @property
    def over_since(self) -> datetime | None:
        """When the last phase was over, where it has ended; None before, and where there is none."""
        phases = self.phases()
        return phases[-1].end if phases and phases[-1].ended is not None else None

    def asked_at(self, moment: datetime) -> int | None:
        """The number of the phase that was asked then; None where it has ended since."""
        found = self.phases()
        number = max(1, sum(datetime.fromisoformat(phase.opened) <= moment for phase in found))
        return None if found and found[number - 1].ended is not None else number

    @contextmanager
    def _held(self) -> Iterator[list[Phase]]:
        made(self.folder).chmod(0o700)
        with (self.folder / ".phases.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # goes with its holder
            found = self.phases()
            yield found
            rows = [asdict(phase) for phase in found]
            write_whole(self.folder / PHASES, json.dumps(rows, indent=1, allow_nan=False))

    def begin(self, number: int) -> bool:
        """Begin a phase, which ends the one before it. False, and nothing done, where it has begun: of
        several processes at once one begins it."""
        with self._held() as found:
            if len(found) != number - 1:
                return False
            self._end(found)
            ends = (now() + timedelta(days=self.days)).isoformat()
            found.append(Phase(number, now().isoformat(), ends))
            return True

    def end(self, number: int) -> bool:
        """End a phase that none follows; False where it has ended."""
        with self._held() as found:
            return len(found) == number and self._end(found)

    @staticmethod
    def _end(found: list[Phase]) -> bool:
        if not found or found[-1].ended is not None:
            return False
        found[-1].ended = now().isoformat()
        return True

    def close(self) -> None:
        """The current phase's time has come now."""
        with self._held() as found:
            if found and not found[-1].over:
                found[-1].ends = now().isoformat()

    def knows(self, number: int, digest: str) -> bool:
        """Whether a version is asked in a phase already."""
        phases = self.phases()
        return len(phases) >= number and digest in phases[number - 1].versions

    def called(self, number: int, digest: str, inputs: str) -> str:
        """What a version of the suite is called that is asked in a phase, by the hash of all of it (`digest`)
        and of what is given out of it (`inputs`). A name made of the labels would tell who knows nearly all
        of them the rest: it is made of the inputs, and of how many other labels they have had."""
        with self._held() as found:
            versions = found[number - 1].versions
            if digest not in versions:
                others = [v for phase in found for v in phase.versions.values()]
                names = (sha256(f"{inputs} {n}".encode()).hexdigest()[:16] for n in count())
                versions[digest] = next(name for name in names if name not in others)
            return versions[digest]
