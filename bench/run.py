"""Runs a suite: asks a model (`bench.asking`), keeps every answer, and makes the metrics of them.

A killed run goes on where it was; processes that share one (`accelerate launch -m bench run …`) take every
n-th video each and the first of them makes the metrics.
"""

import platform
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench import blind, oracle, sight
from bench.asking import ODDS_TASKS, Asking
from bench.cache import ResponseCache
from bench.intervals import odds_metrics, summarise
from bench.metrics.stats import Interval
from bench.models.base import Engine, GivesOdds, HasFamily, Resizes, SendsClips, Streams
from bench.models.by_family import read_as
from bench.models.by_family import record as family_of
from bench.models.options import FREE
from bench.run_folder import (
    ANSWERS,
    MAPS,
    ODDS,
    RECORD,
    Shard,
    git_commit,
    join_lines,
    join_maps,
    read_all,
    read_record,
    reopened,
    versions,
    write_maps,
    write_metrics,
    write_record,
)
from bench.suite import Suite, check_pixels, load, settled, with_notes
from bench.tasks import HEATMAP, heatmap
from tvad.common.errors import InputError
from tvad.common.files import made
from tvad.common.places import public
from tvad.data.dataset import ClipStore
from tvad.data.sample import Sample

CLIPS = 16  # whose frames are held at a time while heatmaps are made


def run(
    model: Engine,
    model_name: str,
    suite: Suite,
    out: str | Path,
    cache: ResponseCache | None = None,
    shard: Shard | None = None,
    opened: Mapping[str, Any] | None = None,
) -> dict[str, Interval]:
    """Run `suite` with an open model, asking nothing that `cache` knows; returns the metrics, in the first of
    several processes that share the run, else nothing. shard: this process's part, by default as launched;
    opened: what run.json says of how the model was opened. Raises InputError where `out` holds another
    run."""
    out, shard, opened = Path(out), shard or Shard.here(), dict(opened or {})
    made(out)
    samples, items = load(suite)
    named, suite = bool(suite.tasks), settled(suite, samples)
    digest = suite.digest(samples)
    sent = {"clips_as": model.video} if isinstance(model, SendsClips) else {}
    _refuse_another(out, model_name, suite, digest, sent, opened)
    if isinstance(model, Resizes):
        check_pixels(suite, model_name, model.pixels)
    known = model.known if isinstance(model, HasFamily) else None
    if known is not None and isinstance(model, HasFamily):
        items = read_as(items, suite, known, model.picture)
        opened = {**opened, "family": family_of(suite, known)}
    own = {sample.id for sample in samples[shard.rank :: shard.world]}
    mine = [item for item in items if item.sample.id in own]
    kept, kept_odds = read_all(out / ANSWERS), read_all(out / ODDS)
    shard.wait()  # nobody writes before all have read
    blinds, hits = blind.of_items(items, suite.seed) if shard.rank == 0 and not suite.hidden else ({}, {})
    asking = Asking(model, suite, ClipStore(suite.rate, suite.max_frames), cache, model_name, known)
    # A run that goes on does not ask an endpoint again; a checkpoint may have changed.
    seen = read_record(out).get("sight") if isinstance(model, Streams) and (out / RECORD).exists() else None
    if seen is None:
        seen = sight.look(model, model_name, asking.probe(samples, items), suite.seed)
    if shard.rank == 0:
        record = _record(model_name, suite, digest, len(samples), shard.world, blinds)
        reopened(out)
        record |= {**sent, **opened, "tasks_from": "suite" if named else "data", "sight": seen}
        write_record(out, record)
    asking.answers(mine, shard.file(out / ANSWERS), kept)
    odds = suite.odds and isinstance(model, GivesOdds)
    if odds:
        asking.odds([item for item in mine if item.task in ODDS_TASKS], shard.file(out / ODDS), kept_odds)
    elif suite.odds and shard.rank == 0:
        _say(f"log-odds: {model.name} gives no log-probabilities, their metrics are left out")
    mapped = HEATMAP in (suite.tasks or ()) and _write_maps(model, samples, asking.store, out, shard)
    shard.wait()  # what follows reads what all have written
    if shard.rank:
        return {}
    order = [item.id for item in items]
    lines = join_lines(out / ANSWERS, shard, order)
    if cut := Counter(line["cut"] for line in lines if "cut" in line):
        why = ", ".join(f"{count} by {reason}" for reason, count in sorted(cut.items()))
        _say(f"{cut.total()} of {len(lines)} answers were cut, and are read as they stand: {why}")
    metrics = with_notes(summarise(lines, suite, hits), suite, samples)
    metrics = metrics if suite.hidden else oracle.beside(metrics, items, suite, hits)
    if mapped:
        metrics |= _of_maps(join_maps(out / MAPS, shard), samples, suite, asking.store, out)
    if odds:
        metrics |= odds_metrics(join_lines(out / ODDS, shard, order), suite)
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
    if not (folder / RECORD).exists():
        return
    before = read_record(folder)
    found = (before["suite_hash"], before["model"], before["suite"]["decode"])
    if found != (digest, model_name, asdict(suite.decode)):
        raise InputError(
            f"{folder / RECORD}: holds a run of {before['model']} on suite {before['suite_hash']}; choose"
            " another --out"
        )
    if sent and (earlier := before.get("clips_as", "file")) != sent["clips_as"]:
        raise InputError(
            f"{folder / RECORD}: its clips were sent as {earlier} (--video), not as {sent['clips_as']};"
            " choose another --out"
        )
    if "opened" in before:
        for key in sorted({*before["opened"], *opened.get("opened", {})} - {*FREE}):
            old, new = before["opened"].get(key), opened.get("opened", {}).get(key)
            if old != new:
                raise InputError(
                    f"{folder / RECORD}: its model was opened with {key} {old!r}, not {new!r}; choose another"
                    " --out"
                )


def _write_maps(model: Engine, samples: list[Sample], store: ClipStore, out: Path, shard: Shard) -> bool:
    """Write the heatmaps of this process's videos, float32 (T', h, w) each; False for a model that has
    none."""
    own = samples[shard.rank :: shard.world]
    # Asked without a clip first: a model that has none does not need them all decoded.
    if model.heatmaps([]) is None:
        if shard.rank == 0:
            _say(f"heatmap: {model.name} gives no heatmaps, its metrics are left out")
        return False
    found: dict[str, np.ndarray] = {}
    for start in range(0, len(own), CLIPS):
        part = own[start : start + CLIPS]
        maps = model.heatmaps([store.frames(sample) for sample in part]) or []
        # Half precision has few numbers near 1, where maps of sure models lie: their order would be lost.
        found |= {s.id: m.astype(np.float32) for s, m in zip(part, maps, strict=True)}
    write_maps(shard.file(out / MAPS), found)
    return True


def _of_maps(
    maps: dict[str, np.ndarray], samples: list[Sample], suite: Suite, store: ClipStore, out: Path
) -> dict[str, Interval]:
    """Heatmap metrics of all videos, and what they are made of kept in the run's folder."""
    if suite.hidden:
        return {}
    videos = {s.id: heatmap.VideoScores(s, maps[s.id].astype(np.float32), store.frames(s)) for s in samples}
    heatmap.save_videos(out / heatmap.VIDEOS, videos)
    found = heatmap.metrics(videos, suite.resamples, suite.seed)
    return {f"{HEATMAP}.{name}": value for name, value in found.items()}
