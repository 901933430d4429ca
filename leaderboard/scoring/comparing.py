"""Two scored runs compared question by question, in a child process with limits of time and memory that
holds no thread of the server. What it found is kept on the disk, for scored runs never change.

python -m leaderboard.scoring.comparing BEFORE AFTER OUT GIGABYTES
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from bench.compare import compare
from bench.families import Difference
from bench.metrics.stats import Interval
from leaderboard.board.config import Board
from leaderboard.intake.limited import limit
from leaderboard.intake.withdrawal import COMPARED
from tvad.common.errors import InputError
from tvad.common.files import made, parse_json, write_whole

KEPT = 2000  # comparisons on the disk, of some kilobytes each; the oldest go first
SECONDS = 60.0  # that a comparison may take
GIGABYTES = 2.0  # of address space, within the server's own limit (deploy/leaderboard)


def _file(board: Board, before: Path, after: Path) -> Path:
    name = hashlib.sha256(f"{before.name} {after.name}".encode()).hexdigest()
    return Path(board.folder) / COMPARED / f"{name}.json"


def known(board: Board, before: Path, after: Path) -> list[Difference] | None:
    """What was found earlier; None where these two have not been compared."""
    try:
        rows = parse_json(_file(board, before, after).read_text())
    except FileNotFoundError:
        return None
    return [Difference(**row | {"change": Interval(**row["change"])}) for row in rows]


async def differences(board: Board, before: Path, after: Path) -> list[Difference]:
    """The paired differences of two scored runs of one version. Raises InputError where the limits do not
    suffice."""
    if (found := await asyncio.to_thread(known, board, before, after)) is not None:
        return found
    out = _file(board, before, after)
    made(out.parent)
    words = ["-m", "leaderboard.scoring.comparing", str(before), str(after), str(out)]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        str(GIGABYTES),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    try:
        _, said = await asyncio.wait_for(child.communicate(), SECONDS)
    except TimeoutError:
        raise InputError(f"comparing took longer than {SECONDS:g} s") from None
    finally:
        if child.returncode is None:  # also where the visitor has gone
            child.kill()
            await child.wait()
    if child.returncode:
        print(said.decode(errors="backslashreplace")[-2000:], file=sys.stderr, flush=True)
        raise InputError("these two could not be compared within the limits of time and memory")
    found = known(board, before, after)
    assert found is not None
    return found


def tidy(folder: Path) -> None:
    """Remove the oldest comparisons beyond KEPT, and what killed children have left."""
    files = []
    for path in folder.iterdir():
        try:
            files.append((path.stat().st_mtime, path))
        except FileNotFoundError:  # another process was faster
            continue
    old = sorted(files, reverse=True)[KEPT:]
    stale = [row for row in files if row[1].suffix != ".json" and time.time() - row[0] > 10 * SECONDS]
    for _, path in (*old, *stale):
        path.unlink(missing_ok=True)


def main(before: str, after: str, out: str, gigabytes: str) -> None:
    limit(float(gigabytes), SECONDS)
    rows = [asdict(row) for row in compare(Path(before), Path(after))]
    write_whole(out, json.dumps(rows, allow_nan=False))
    tidy(Path(out).parent)


if __name__ == "__main__":
    main(*sys.argv[1:])
