"""Runs a suite: asks a model (`bench.asking`), keeps every answer, and makes the metrics of them.

A killed run goes on where it was; processes that share one (`accelerate launch -m bench run …`) take every
n-th video each and the first of them makes the metrics.
"""

import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bench import blind, readings, sight, unscored
from bench.answers import video_of
from bench.asking import MOST_BYTES, ODDS_TASKS, Asking, one_by_one
from bench.by_slice import BySlice
from bench.cache import ResponseCache
from bench.dense import frame_maps
from bench.figures import of_answers, of_maps, of_odds
from bench.inputs import Inputs, refuse_other_weights, weights
from bench.metrics.stats import Interval
from bench.models import defaults
from bench.models.base import Engine, GivesOdds, HasFamily, Resizes, SeesFrames, SendsClips, Streams
from bench.models.by_family import read_as
from bench.models.by_family import record as family_of
from bench.models.options import FREE
from bench.run_folder import (
    ANSWERS,
    MAPS,
    ODDS,
    RECORD,
    UNMAPPED,
    Shard,
    git_commit,
    join_lines,
    join_maps,
    read_all,
    read_record,
    record_of,
    reopened,
    versions,
    write_lines,
    write_maps,
    write_metrics,
    write_record,
)
from bench.subclips import check_scores, frame_scores
from bench.suite import Loaded, Suite, check_pixels, load, settled
from bench.tasks import HEATMAP, UNSCORED, heatmap
from bench.usage import Spending
from tvad.common.errors import InputError
from tvad.common.lock import locked
from tvad.common.places import public
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample
from tvad.data.video import Frames

CLIPS = 16  # whose frames are held at a time while heatmaps are made


def run(
    model: Engine | Callable[[], Engine],
    model_name: str,
    suite: Suite,
    out: str | Path,
    cache: ResponseCache | None = None,
    shard: Shard | None = None,
    opened: Mapping[str, Any] | None = None,
    again: bool = False,
    loaded: Loaded | None = None,
) -> dict[str, Interval]:
    """Run `suite` with a model, or what opens one, asking nothing that `cache` knows; returns the metrics, in
    the first of several processes that share the run, else nothing. shard: this process's part, by default as
    launched; opened: what run.json says of how the model was opened; again: also ask what an earlier call has
    left unscored; loaded: the suite's samples and items, where they are at hand. Raises InputError, before a
    model is opened, where `out` holds another run or is being
    written."""
    out, shard = Path(out), shard or Shard.here()
    # Processes that share a run are one: the first holds its folder.
    with locked(out) if shard.rank == 0 else nullcontext():
        return _run(
            model, model_name, suite, loaded or load(suite), out, cache, shard, dict(opened or {}), again
        )


def _run(
    model: Engine | Callable[[], Engine],
    model_name: str,
    suite: Suite,
    loaded: Loaded,
    out: Path,
    cache: ResponseCache | None,
    shard: Shard,
    opened: dict[str, Any],
    again: bool,
) -> dict[str, Interval]:
    samples, items = loaded
    named, suite = bool(suite.tasks), settled(suite, samples)
    earlier = read_record(out) if (out / RECORD).exists() else {}
    if again and earlier:  # its record names them, whoever did
        named = earlier.get("tasks_from", "suite") == "suite"
    digest = suite.digest(samples)
    _refuse_another(out, model_name, suite, digest, {}, opened)
    kept, kept_odds = (
        [line for line in read_all(out / name) if not (again and UNSCORED in line)]
        for name in (ANSWERS, ODDS)
    )
    inputs = Inputs(out, kept)
    inputs.check(samples)
    spending = Spending(out, shard)
    weighed = weights(model_name, earlier.get("weights"))
    refuse_other_weights(out, earlier.get("weights"), weighed)
    model = model() if callable(model) else model
    sent = {"clips_as": model.video} if isinstance(model, SendsClips) else {}
    _refuse_another(out, model_name, suite, digest, sent, opened)
    if isinstance(model, Resizes):
        check_pixels(suite, model_name, model.pixels)
    known = model.known if isinstance(model, HasFamily) else None
    if known is not None and isinstance(model, HasFamily):
        items = read_as(items, suite, known, model.picture)
        family = family_of(suite, known)
        if (unit := earlier.get("family", family)["boxes"]) != family["boxes"]:
            raise InputError(
                f"{out / RECORD}: its answers were asked for boxes in {unit}, not {family['boxes']}; choose"
                " another --out"
            )
        opened = {**opened, "family": family}
    own = {sample.id for sample in samples[shard.rank :: shard.world]}
    mine = [item for item in items if item.sample.id in own]
    shard.wait()  # nobody writes before all have read
    blinds, hits = blind.of_items(items, suite.seed) if shard.rank == 0 and not suite.hidden else ({}, {})
    store = ClipStore(suite.rate, suite.max_frames, MOST_BYTES)
    if suite.subclips is not None:  # before hours of questions
        check_scores(model, suite.subclips)
    asking = Asking(model, suite, store, cache, model_name, known, inputs, spending)
    # A run that goes on does not ask an endpoint again; a checkpoint may have changed.
    seen = earlier.get("sight") if isinstance(model, Streams) else None
    if seen is None:
        seen = sight.look(model, model_name, asking.probe(samples, items), suite.seed)
    if shard.rank == 0:
        record = _record(model_name, suite, digest, len(samples), shard.world, blinds)
        reopened(out)
        record |= {**sent, **opened, "tasks_from": "suite" if named else "data", "sight": seen}
        record |= {key: earlier[key] for key in ("reader",) if key in earlier}  # of the lines that are kept
        write_record(out, {**record, "weights": weighed})
    try:
        asking.answers(mine, shard.file(out / ANSWERS), kept)
    finally:
        inputs.keep(shard)
    odds = suite.odds and isinstance(model, GivesOdds)
    if odds:
        asking.odds([item for item in mine if item.task in ODDS_TASKS], shard.file(out / ODDS), kept_odds)
    elif suite.odds and shard.rank == 0:
        _say(f"log-odds: {model.name} gives no log-probabilities, their metrics are left out")
    mapped = HEATMAP in (suite.tasks or ()) and _write_maps(
        model, samples, suite, asking.store, out, shard, inputs
    )
    shard.wait()  # what follows reads what all have written
    if shard.rank:
        return {}
    order = [item.id for item in items]
    lines = join_lines(out / ANSWERS, shard, order)
    answers = sum(UNSCORED not in line for line in lines)
    spending.join(shard, order, answers)
    inputs.join(shard, samples)
    if cut := Counter(line["cut"] for line in lines if "cut" in line):
        why = ", ".join(f"{count} by {reason}" for reason, count in sorted(cut.items()))
        _say(f"{cut.total()} of {answers} answers were cut, and are read as they stand: {why}")
    metrics = of_answers(lines, samples, items, suite, hits)
    if (told := readings.told(lines)) or "reader" in earlier:
        _say(
            f"{told or 'no answer is read by a judge any more'}; `bench read {out}` asks about what is unread"
        )
    if mapped:
        unmapped = join_lines(out / UNMAPPED, shard, [sample.id for sample in samples])
        metrics |= _of_maps(join_maps(out / MAPS, shard), unmapped, samples, suite, asking.store, out)
    if odds:
        likely = join_lines(out / ODDS, shard, order)
        metrics |= of_odds(likely, suite)
    if without := [line for line in lines if UNSCORED in line]:
        _say(
            f"{len(without)} of {len(order)} questions are unscored, and in no figure:"
            f" {unscored.told(without)}; `bench retry {out}` asks them again"
        )
    by_slice = BySlice(samples, suite)
    for line in lines:
        by_slice.add(line)
    by_slice.write(out)
    write_metrics(out, metrics)
    return metrics


def _record(
    model_name: str, suite: Suite, digest: str, videos: int, processes: int, blinds: dict[str, blind.Blind]
) -> dict[str, Any]:
    """What run.json holds."""
    return {
        "model": model_name,
        "suite": asdict(suite),
        "suite_hash": digest,
        "videos": videos,
        "versions": versions(),
        "seed": suite.decode.seed,
        "device": platform.processor() or platform.machine(),
        "git_commit": git_commit(),
        "processes": processes,
        "blind": blind.record(blinds),
        "command": [public(word) for word in sys.argv],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _refuse_another(
    folder: Path, model_name: str, suite: Suite, digest: str, sent: dict[str, str], opened: Mapping[str, Any]
) -> None:
    """Raise InputError where the folder holds a run of something else: its answers would be kept."""
    own = digest, model_name, asdict(suite.decode)
    before = record_of(folder, lambda r: (r["suite_hash"], r["model"], r["suite"]["decode"]) != own)
    if not before:
        return
    given = {*(before["suite"].get("tasks") or ())} - {HEATMAP}  # maps are made anew
    if lost := sorted(given - {*(suite.tasks or ())}):
        raise InputError(
            f"{folder / RECORD}: holds answers to {', '.join(lost)}, which this run does not ask for; choose"
            " another --out"
        )
    if sent and (earlier := before.get("clips_as", "file")) != sent["clips_as"]:
        raise InputError(
            f"{folder / RECORD}: its clips were sent as {earlier} (--video), not as {sent['clips_as']};"
            " choose another --out"
        )
    if "opened" in before:
        # `video` is judged above, by how clips were sent.
        for key in sorted({*before["opened"], *opened.get("opened", {})} - {*FREE, "video"}):
            old, new = before["opened"].get(key), opened.get("opened", {}).get(key)
            usual = defaults(model_name).get(key) if old != new else None
            if old != new and (usual if old is None else old) != (usual if new is None else new):
                raise InputError(
                    f"{folder / RECORD}: its model was opened with {key} {old!r}, not {new!r}; choose another"
                    " --out"
                )


def _write_maps(
    model: Engine,
    samples: list[Sample],
    suite: Suite,
    store: ClipStore,
    out: Path,
    shard: Shard,
    inputs: Inputs,
) -> bool:
    """Write the heatmaps of this process's videos, float32 (T', h, w) each, and which videos these were;
    False for a model that has none."""
    own = samples[shard.rank :: shard.world]
    # Asked without a clip first: a model that has none does not need them all decoded.
    if suite.subclips is None and model.heatmaps([]) is None:
        if shard.rank == 0:
            _say(f"heatmap: {model.name} gives no heatmaps, its metrics are left out")
        return False
    found: dict[str, np.ndarray] = {}
    lines: list[dict] = []
    for sample, heat in _made_maps(model, own, suite, store, lines):
        inputs.digest(sample)
        if isinstance(heat, Exception):
            lines.append(_unmapped(sample, heat))
        else:
            # Half precision has few numbers near 1, where maps of sure models lie: their order would be lost.
            found[sample.id] = heat.astype(np.float32)
    inputs.keep(shard)
    write_maps(shard.file(out / MAPS), found)
    write_lines(shard.file(out / UNMAPPED), lines)
    return True


def _made_maps(
    model: Engine, samples: list[Sample], suite: Suite, store: ClipStore, unread: list[dict]
) -> Iterator[tuple[Sample, np.ndarray | Exception]]:
    """Samples with their heatmaps, or why they have none; of those that cannot be read a line goes to
    `unread`."""
    if suite.dense is not None:
        dense = suite.dense
        if dense.still and isinstance(model, SeesFrames):
            raise InputError(f"{model.name} sees frames one after the other; dense.still is of pairs")
        for sample in tqdm(samples, unit="video", desc="heatmaps", disable=None):
            yield sample, one_by_one(lambda s: [frame_maps(model, s[0], suite.rate, dense)], [sample])[0]
        return
    if (how := suite.subclips) is not None:
        for sample in tqdm(samples, unit="video", desc="sub-clips", disable=None):
            maps = one_by_one(lambda s: [frame_scores(model, s[0], suite.rate, how)[:, None, None]], [sample])
            yield sample, maps[0]
        return
    for samples_of, clips in _parts(samples, store, unread):
        yield from zip(samples_of, one_by_one(model.heatmaps, clips), strict=True)


def _parts(
    samples: list[Sample], store: ClipStore, unread: list[dict]
) -> Iterator[tuple[list[Sample], list[Frames]]]:
    """Samples with their clips, at most CLIPS and MOST_BYTES at a time; of those that cannot be read a line
    goes to `unread`."""
    part: list[Sample] = []
    clips: list[Frames] = []
    for sample in samples:
        try:
            clip = store.frames(sample)
        except InputError as error:
            unread.append(_unmapped(sample, error))
            continue
        if part and sum(c.images.nbytes for c in (*clips, clip)) > MOST_BYTES:
            yield part, clips
            part.clear()
            clips.clear()  # who took them holds this list, too
        part.append(sample)
        clips.append(clip)
        if len(part) == CLIPS:
            yield part, clips
            part.clear()
            clips.clear()
    if part:
        yield part, clips


def _unmapped(sample: Sample, error: Exception) -> dict[str, str]:
    return {"id": sample.id, "task": HEATMAP, **video_of(sample), UNSCORED: unscored.reason_of(error)}


def _of_maps(
    maps: dict[str, np.ndarray],
    unmapped: list[dict],
    samples: list[Sample],
    suite: Suite,
    store: ClipStore,
    out: Path,
) -> dict[str, Interval]:
    """Heatmap metrics of the videos that have a map, and what they are made of kept in the run's folder, with
    why the others have none."""
    if suite.hidden:
        return {}
    videos, without = {}, {line["id"]: line for line in unmapped}
    for sample in samples:
        if sample.id in without:
            continue
        try:
            heat = maps[sample.id].astype(np.float32)
            frames = store.frames(sample)
            every = suite.dense is not None or suite.subclips is not None
            steps = np.arange(frames.total) if every else None
            videos[sample.id] = heatmap.VideoScores(sample, heat, frames, steps)
        except InputError as error:
            without[sample.id] = _unmapped(sample, error)
    (out / UNMAPPED).unlink(missing_ok=True)
    if without:
        write_lines(out / UNMAPPED, without.values())
        _say(f"{len(without)} of {len(samples)} videos have no map: {unscored.told(without.values())}")
    if videos:
        heatmap.save_videos(out / heatmap.VIDEOS, videos)
    return of_maps(videos, without, samples, suite)
