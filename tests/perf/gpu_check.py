"""What only a GPU can show, in one unattended command on one card, at most 25 minutes: a page of lines, each
passed, failed or not run with its reason.

    make gpu-check                                        all of it, into runs/gpu-check
    python tests/perf/gpu_check.py --out DIR --only memory parity    some of it; what is known stays

Parity of the GPU with the CPU and of bfloat16 with float32, every attention implementation on packed rows,
memory of training steps at full 3B and 7B against the tracker's figure, tokens a second, a GRPO run. What
another package is missing for (vLLM, flash-attn) says so. Exit status 1 where a line failed.
"""

import argparse
import gc
import html
import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from tvad.common.errors import InputError
from tvad.common.files import write_whole

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "assets/tvad-tiny"
EXACT, ROUNDED = 2e-3, 0.05  # nats: float32 on two devices; bfloat16 against float32, mean
WITHIN = 0.10  # of the tracker's memory
MEMORY = [
    *(
        (size, step, 392, 392)
        for size in ("3b", "7b")
        for step in ("stage 1", "stage 2 A", "stage 2 B", "grpo")
    ),
    *(("7b", step, 720, 1280) for step in ("stage 1", "stage 2 B", "grpo")),
]
PACKAGES = ("torch", "transformers", "trl", "vllm", "flash-attn", "peft", "accelerate", "av")


class NotRun(Exception):
    """Why a line cannot be run here."""


@dataclass
class Line:
    """A row of the page. state: passed, failed or not run."""

    name: str
    state: str
    said: str
    figures: dict[str, float | str] = field(default_factory=dict)
    seconds: float = 0.0


def need(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise NotRun(f"{package} is not installed")


def requests():
    """Clips of several sizes and lengths, with a question each."""
    import numpy as np

    from bench.models.base import Request
    from tvad.data.video import Frames
    from tvad.prompts import messages

    for n, (t, h, w) in enumerate([(8, 112, 112), (12, 96, 64), (4, 64, 128), (5, 64, 64)]):
        images = np.random.default_rng(n).integers(0, 255, (t, h, w, 3), dtype=np.uint8)
        frames = Frames(images, np.arange(t) / 2, np.arange(t), 2.0, t)
        yield Request(messages("What happens in this video?"), frames)


def logprobs(device: str, dtype: torch.dtype, attention: str | None = None, together: bool = True):
    """Log-probs (n,) of fixed completions by the shipped checkpoint, packed or one row a completion, and a
    clip's heatmap."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from rft.grpo.logprobs import group_logprobs
    from tvad.control import chat

    named = {} if attention is None else {"attn_implementation": attention}
    model = AutoModelForImageTextToText.from_pretrained(CHECKPOINT, dtype=dtype, **named).to(device).eval()
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    texts = ("<think>A man runs.</think><answer>A</answer>", "<answer>B</answer>", "No.")
    found = []
    for request in requests():
        vision = processor.vision_inputs([request.frames])
        text = processor.expand(
            chat(processor, request.messages), vision["video_grid_thw"][0], request.frames
        )
        prompt = torch.tensor(processor.tokenizer(text)["input_ids"])
        ids = [torch.tensor(processor.tokenizer(t)["input_ids"]) for t in texts]
        groups = [ids] if together else [[one] for one in ids]
        with torch.no_grad():
            for group in groups:
                values, _ = group_logprobs(model, model, [prompt], [group], vision, 1.0, 0)
                found += [v.float().cpu() for v in values[0]]
    with torch.no_grad():
        clips = {k: v.to(device) for k, v in vision.items() if k != "second_per_grid_ts"}
        heat = model(**clips).clips[0].heat.float().cpu()
    return torch.cat(found), heat


def gap(one: torch.Tensor, other: torch.Tensor, bound: float, mean: bool = False) -> dict[str, float]:
    difference = (one - other).abs()
    found = {"mean": float(difference.mean()), "largest": float(difference.max()), "bound": bound}
    if found["mean" if mean else "largest"] > bound:
        raise AssertionError(f"{found}")
    return found


def parity_float32() -> dict:
    """log-probs and heatmaps, float32, GPU against CPU"""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    (a, heat_a), (b, heat_b) = logprobs("cpu", torch.float32), logprobs("cuda", torch.float32)
    return gap(a, b, EXACT) | {f"heat {k}": v for k, v in gap(heat_a, heat_b, EXACT).items()}


def parity_bfloat16() -> dict:
    """log-probs and heatmaps, bfloat16 against float32 on the GPU"""
    (a, heat_a), (b, heat_b) = logprobs("cuda", torch.float32), logprobs("cuda", torch.bfloat16)
    return gap(a, b, ROUNDED, mean=True) | {
        f"heat {k}": v for k, v in gap(heat_a, heat_b, ROUNDED, True).items()
    }


def attention_of(name: str) -> Callable[[], dict]:
    def line() -> dict:
        if name == "flash_attention_2":
            need("flash_attn")
        dtype = torch.float32 if name in ("eager", "sdpa") else torch.bfloat16
        bound = EXACT if dtype == torch.float32 else ROUNDED
        try:
            packed, _ = logprobs("cuda", dtype, name)
        except (ValueError, InputError) as error:  # the backbone's or ours, before anything is computed
            raise NotRun(str(error).split(". ")[0]) from error
        alone, _ = logprobs("cuda", dtype, name, together=False)
        return gap(packed, alone, bound, mean=dtype != torch.float32)

    line.__doc__ = f"packed rows against single ones, attention {name}"
    return line


def memory_of(pool: ProcessPoolExecutor, size: str, step: str, height: int, width: int) -> Callable[[], dict]:
    from rft.studies.step_memory import GIB, Shape, measured, tracked

    shape = Shape(16, height, width)
    expectation = pool.submit(tracked, step, size, shape)  # minutes of a core each, while the card works

    def line() -> dict:
        found = measured(step, size, shape)
        expected = expectation.result()["Total"] / GIB
        figures = {
            "GiB at the peak": found["Total"] / GIB,
            "tracker, GiB": expected,
            "GiB held by the allocator": found["reserved"] / GIB,
            "seconds a step": found["seconds"],
        }
        if abs(figures["GiB at the peak"] / expected - 1) > WITHIN:
            raise AssertionError(f"{figures}")
        return figures

    what = f"{size.upper()}, {step}, 16 frames of {width} x {height}"
    line.__doc__ = f"{what}: memory within {WITHIN:.0%} of the tracker's"
    return line


def generation(size: str) -> Callable[[], dict]:
    def line() -> dict:
        from rft.studies.step_memory import Shape, clip_of, model_of

        model = model_of(size, "cuda").eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.02)
        vision, prefix = clip_of(model, Shape())
        rows, count = 8, 64
        call = {
            "input_ids": prefix[None].repeat(rows, 1),
            "clip_index": torch.zeros(rows, dtype=torch.long, device="cuda"),
            "max_new_tokens": count,
            "min_new_tokens": count,
            "do_sample": False,
            **vision,
        }
        model.generate(**call)
        torch.cuda.synchronize()
        began = time.perf_counter()
        out = model.generate(**call)
        torch.cuda.synchronize()
        took = time.perf_counter() - began
        assert out.shape == (rows, len(prefix) + count), out.shape
        return {"tokens a second": rows * count / took, "rows": rows, "prompt tokens": len(prefix)}

    line.__doc__ = f"{size.upper()}, tokens a second by transformers' generate, 8 rows of one clip, bfloat16"
    return line


def _command(*words: str, out: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ
        | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    write_whole(out / f"{words[0]}.log", done.stdout + done.stderr)
    if done.returncode:
        raise AssertionError((done.stderr or done.stdout).strip().splitlines()[-1][:300])
    return done.stdout


def grpo_run(out: Path, engine: str, *packages: str) -> Callable[[], dict]:
    def line() -> dict:
        need("trl", "av", "plotly", *packages)
        data, run = out / "scenes", out / f"grpo-{engine}"
        if not (data / "samples.jsonl").exists():
            _command(
                "tvad",
                "data",
                "scenes",
                "--out",
                str(data),
                "--setting",
                "core",
                "--clips",
                "24",
                "--split",
                "train",
                out=out,
            )
        given = ["--config", "demo", "--out", str(run), "--data", str(data), "--engine", engine]
        given += [
            "--training.max_steps",
            "3",
            "--training.per_device_train_batch_size",
            "32",
            "--training.bf16",
            "true",
        ]
        _command("rft.train_grpo", *given, out=out)
        rows = [json.loads(row) for row in (run / "log.jsonl").read_text().splitlines()]
        last = [row for row in rows if "sampler_gap/mean" in row][-1]
        if last["sampler_gap/mean"] > ROUNDED:
            raise AssertionError(f"trainer and sampler differ by {last['sampler_gap/mean']:.4f} nats a token")
        return {
            k: last[k] for k in ("sampler_gap/mean", "sampler_gap/max", "reward", "step_time") if k in last
        }

    line.__doc__ = f"GRPO, three steps of the shipped checkpoint in bfloat16, rollouts by {engine}"
    return line


def engines() -> dict:
    """vLLM against transformers in bfloat16, and its sleep mode"""
    need("vllm")
    from bench.models.vllm import VllmModel
    from tests.model import agreement

    engine = VllmModel(str(CHECKPOINT), sleep=True)
    model, processor = agreement.open_both(str(CHECKPOINT))
    before = agreement.gap(engine, model, processor, list(requests()))
    engine.sleep()
    held = torch.cuda.mem_get_info()[0]
    engine.wake()
    engine.sync(model.engine_weights())
    after = agreement.gap(engine, model, processor, list(requests()))
    figures = {"largest gap": before, "after sleep": after, "GiB free asleep": held / (1 << 30)}
    if max(before, after) > 0.5:
        raise AssertionError(f"{figures}")
    return figures


def lines(out: Path, pool: ProcessPoolExecutor, only: list[str] | None) -> Iterator[Callable[[], dict]]:
    """The lines of the groups `only`, or all."""
    for group, make in (
        ("parity", lambda: (parity_float32, parity_bfloat16)),
        ("attention", lambda: map(attention_of, ("eager", "sdpa", "flex_attention", "flash_attention_2"))),
        ("grpo", lambda: (grpo_run(out, "hf"), grpo_run(out, "vllm", "vllm"))),
        ("engines", lambda: (engines,)),
        ("speed", lambda: map(generation, ("3b", "7b"))),
        ("memory", lambda: [memory_of(pool, *what) for what in MEMORY]),
    ):
        if not only or group in only:
            yield from make()


def run(name: str, line: Callable[[], dict]) -> Line:
    began = time.perf_counter()
    try:
        figures = line()
        found = Line(name, "passed", "", figures)
    except NotRun as reason:
        found = Line(name, "not run", str(reason))
    except torch.OutOfMemoryError:
        found = Line(
            name, "not run", f"more than this card's {torch.cuda.mem_get_info()[1] / (1 << 30):.0f} GiB"
        )
    except Exception as error:
        said = " ".join(str(error).split())[:400]
        found = Line(name, "failed", f"{type(error).__name__}: {said}")
        traceback.print_exc()
    gc.collect()
    torch.cuda.empty_cache()
    found.seconds = round(time.perf_counter() - began, 1)
    return found


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def page(told: dict, rows: list[Line]) -> str:
    """The results as a page of its own."""

    def figure(value) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    cells = "".join(
        f'<tr class="{row.state.replace(" ", "-")}"><td>{html.escape(row.name)}</td><td>{row.state}</td><td>'
        + html.escape(row.said or "; ".join(f"{k} {figure(v)}" for k, v in row.figures.items()))
        + f"</td><td>{row.seconds:.0f} s</td></tr>"
        for row in rows
    )
    head = ", ".join(f"{key} {value}" for key, value in told.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>GPU check</title>'
        '<meta name="viewport" content="width=device-width"><style>body{font:15px system-ui;margin:2rem auto;'
        "max-width:70rem;padding:0 1rem}"
        "td{padding:.3rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}"
        ".failed td:nth-child(2){color:#b00020;font-weight:700}.not-run td{color:#666}</style>"
        f"<h1>GPU check</h1><p>{html.escape(head)}</p><table>{cells}</table></html>"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "runs/gpu-check")
    parser.add_argument("--only", nargs="*", help="groups: parity attention memory speed grpo engines")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: no CUDA device is visible to torch; this check is for a GPU", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "results.json"
    card = torch.cuda.get_device_properties(0)
    told = {"device": card.name, "GiB": f"{card.total_memory / (1 << 30):.0f}", **versions()}
    rows: dict[str, Line] = {}
    if kept.exists() and (old := json.loads(kept.read_text()))["host"] == told:
        rows = {row["name"]: Line(**row) for row in old["lines"]}
    workers = max(1, min(len(MEMORY), (os.cpu_count() or 1) - 2))
    # A thread each: all of a machine's in every worker stand in each other's way.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as pool:
        for line in lines(given.out, pool, given.only):
            name = (line.__doc__ or "").strip()
            rows[name] = run(name, line)
            print(f"{rows[name].state:8s} {name} {rows[name].said or rows[name].figures}", flush=True)
            results = {"host": told, "lines": [asdict(row) for row in rows.values()]}
            write_whole(kept, json.dumps(results, indent=1, allow_nan=False))
            write_whole(given.out / "report.html", page(told, list(rows.values())))
    return int(any(row.state == "failed" for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
