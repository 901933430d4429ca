"""Speed of the metrics, two ways of each measured in one run on the same work.

python tests/perf/metrics.py                      # RBDC/TBDC against a plain loop, bootstrap, scoring of
answers python tests/perf/metrics.py --answers 1000000    # the last at full length (a minute)
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from bench.metrics import detection
from bench.metrics.paired import share_beyond
from bench.metrics.stats import cluster_sums


def videos(count: int, frames: int, per_frame: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (n, 7) and detections (m, 7): two tracks a video over a third of its frames, and boxes near them
    and elsewhere."""
    rng = np.random.default_rng(seed)
    tracks, found = [], []
    for v in range(count):
        for t in range(2):
            start = int(rng.integers(0, frames * 2 // 3))
            for f in range(start, start + frames // 3):
                x, y = 10 + 0.5 * (f - start) + 100 * t, 40 + 30 * t
                tracks.append((v, t, f, x, y, x + 30, y + 60))
        for f in range(frames):
            for _ in range(int(rng.poisson(per_frame))):
                x, y = rng.uniform(0, 300), rng.uniform(0, 150)
                found.append((v, f, x, y, x + 30, y + 60, rng.random()))
    return np.array(tracks), np.array(found)


def plain(
    tracks: np.ndarray, detections: np.ndarray, frames: int, iou: float = 0.1, share: float = 0.1
) -> dict[str, float]:
    """RBDC and TBDC as a script would: detection by detection, over all ground truth and all tracks."""
    truth = [tuple(row) for row in tracks.tolist()]
    lengths: dict[tuple, int] = {}
    for row in truth:
        lengths[row[:2]] = lengths.get(row[:2], 0) + 1
    seen, hits, false = set(), dict.fromkeys(lengths, 0), 0
    points = [(0.0, 0.0, 0.0)]
    for v, f, x1, y1, x2, y2, _ in sorted(detections.tolist(), key=lambda d: -d[6]):
        matched = False
        for i, (tv, t, tf, a1, b1, a2, b2) in enumerate(truth):
            if tv != v or tf != f:
                continue
            w, h = min(x2, a2) - max(x1, a1) + 1, min(y2, b2) - max(y1, b1) + 1
            overlap = max(w, 0) * max(h, 0)
            union = (x2 - x1 + 1) * (y2 - y1 + 1) + (a2 - a1 + 1) * (b2 - b1 + 1) - overlap
            if overlap / union >= iou:
                matched = True
                if i not in seen:
                    seen.add(i)
                    hits[tv, t] += 1
        false += not matched
        found = sum(hits[key] / lengths[key] >= share for key in lengths)
        points.append((false / frames, len(seen) / len(truth), found / len(lengths)))
    curve = np.array(points)
    keep = curve[:, 0] <= 1
    x = np.append(curve[keep, 0], 1.0)
    return {name: float(np.sum(np.diff(x) * curve[keep, k])) for name, k in (("rbdc", 1), ("tbdc", 2))}


def took(call) -> tuple[float, object]:
    begin = time.perf_counter()
    value = call()
    return time.perf_counter() - begin, value


def detections_part(count: int, frames: int, part: int) -> None:
    tracks, found = videos(count, frames, 0.6, 0)
    ours, _ = took(lambda: detection.rbdc_tbdc(tracks, found, count * frames))
    # The plain way is quadratic; it is run over a part of the videos and both are compared there.
    some, these = tracks[tracks[:, 0] < part], found[found[:, 0] < part]
    slow, theirs = took(lambda: plain(some, these, part * frames))
    fast, mine = took(lambda: detection.rbdc_tbdc(some, these, part * frames))
    print(
        f"RBDC/TBDC, {part} videos x {frames} frames, {len(these)} detections: plain loop {slow:.2f} s, ours"
        f" {fast:.3f} s, ratio {slow / fast:.0f}"
    )
    print(f"  values: plain {theirs}, ours {mine}")
    doubled, more = videos(2 * count, frames, 0.6, 0)
    twice, _ = took(lambda: detection.rbdc_tbdc(doubled, more, 2 * count * frames))
    print(
        f"  {count} videos, {len(found)} detections {ours:.2f} s; {2 * count} videos, {len(more)} detections"
        f" {twice:.2f} s: {twice / ours:.2f} times for {len(more) / len(found):.2f} times as many"
    )


def bootstrap_part(samples: int, resamples: int) -> None:
    values = np.random.default_rng(0).random(samples)
    ours, _ = took(lambda: share_beyond(values, np.arange(samples), 0.5, resamples))

    def loop(times: int):
        rng = np.random.default_rng(0)
        sums, counts = cluster_sums(values, np.arange(samples))
        for _ in range(times):
            drawn = rng.integers(0, samples, samples)
            _ = sums[drawn].sum() / counts[drawn].sum()

    once, _ = took(lambda: loop(200))
    slow = once * resamples / 200
    print(
        f"bootstrap, {resamples} resamples of {samples}: ours {ours:.2f} s, one by one {slow:.2f} s, ratio"
        f" {slow / ours:.2f}"
    )


def scored_answers(count: int, folder: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """Seconds of `bench score` on generated questions, as a user runs it; whether each answer is right, and
    its video's number. `folder`/rows.jsonl: the same answers with their options, for other programs."""
    per_video, options = 50, ["running", "cycling", "fire", "nothing unusual"]
    data = folder / "scored"
    data.mkdir()
    right, videos = [], []
    with (
        (data / "samples.jsonl").open("w") as out,
        (folder / "answers.jsonl").open("w") as answers,
        (folder / "rows.jsonl").open("w") as rows,
    ):
        for v in range(count // per_video):
            asked = {"kind": "mcq", "options": options}
            questions = [
                {**asked, "text": f"What happens in second {q}?", "answer": "ABCD"[(v + q) % 4]}
                for q in range(per_video)
            ]
            row = {
                "id": f"v{v}",
                "source": "perf",
                "split": "test",
                "video": {"path": f"videos/v{v}.mp4"},
                "label": "anomalous",
                "questions": questions,
            }
            out.write(json.dumps(row) + "\n")
            for q, question in enumerate(questions):
                letter = "ABCD"[q % 4]
                text = (
                    f"<think>Someone is {options[q % 4]} near car {v}, second {q}.</think>"
                    f"<answer>{letter}</answer>"
                )
                answers.write(json.dumps({"id": f"v{v}#{q}", "task": "mcq", "response": text}) + "\n")
                rows.write(
                    json.dumps({"response": text, "options": options, "answer": question["answer"]}) + "\n"
                )
                right.append(float(letter == question["answer"]))
                videos.append(v)
    plan = {"name": "perf", "data": str(data), "tasks": ["mcq"]}
    (folder / "suite.yaml").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "bench", "score", f"{folder}/answers.jsonl"]
    command += ["--suite", f"{folder}/suite.yaml", "--out", f"{folder}/scores"]
    root = Path(__file__).resolve().parents[2]
    seconds, _ = took(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=root))
    return seconds, np.array(right), np.array(videos)


def answers_part(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds, _, _ = scored_answers(count, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 << 20)
    print(
        f"bench score, {count} answers: {seconds:.1f} s, {peak:.2f} GiB at most ({count / seconds:.0f}"
        " answers/s)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--part", type=int, default=30, help="videos for the plain loop")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--answers", type=int, default=100_000)
    known = parser.parse_args()
    detections_part(known.videos, known.frames, known.part)
    bootstrap_part(known.samples, known.resamples)
    answers_part(known.answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
