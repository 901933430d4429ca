"""What each stage of `tvad annotate run` gains: precision and recall of attributes, boxes and trajectories on
generated scenes with the scripted teacher at several noises, and BLEU-4 of the narratives against the
generator's own.

python tests/perf/annotate.py --clips 200 --out runs/annotate
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from bench.metrics.text import bleu4
from tvad.annotate.construct import Construction
from tvad.annotate.engine import ROWS, run
from tvad.annotate.teacher import opened
from tvad.data.components import overlap
from tvad.data.questions import DIALOGUE
from tvad.data.sample import Sample, Track
from tvad.data.scenes.dataset import ScenesConfig, generate
from tvad.data.scenes.teacher import truth_of

SAME = 0.5  # overlap of boxes that are one, and share of frames of trajectories that are
FIELDS = ("kind", "colour", "upper", "lower", "carries")


class Tally:
    """What was right, stated and true, of one thing."""

    def __init__(self):
        self.right = self.stated = self.true = 0

    def add(self, right: int, stated: int, true: int) -> None:
        self.right, self.stated, self.true = self.right + right, self.stated + stated, self.true + true

    def __str__(self) -> str:
        if not self.stated:
            return "-- / --"
        return f"{100 * self.right / self.stated:.1f} / {100 * self.right / max(1, self.true):.1f}"


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    return float(overlap(np.array([a], float), np.array([b], float))[0, 0])


def words(looks: Iterable[dict[str, str]], truths: Iterable[dict[str, str]]) -> tuple[int, int]:
    """(right, stated) words of pairs of looks."""
    pairs = [(look.get(f), truth.get(f)) for look, truth in zip(looks, truths, strict=True) for f in FIELDS]
    return sum(a is not None and a == b for a, b in pairs), sum(a is not None for a, _ in pairs)


def of_sightings(row: dict, sample: Sample, attributes: Tally, boxes: Tally) -> None:
    """Frame by frame, before anything is joined."""
    for frame, seen in row["sightings"].items():
        there = [t for t in sample.tracks or () if int(frame) in t.boxes]
        true = sum(len(truth_of(t)) for t in there)
        shared = np.array([[iou(s["box"], t.boxes[int(frame)]) for t in there] for s in seen])
        pairs = []
        if seen and there:
            pairs = [
                (a, b) for a, b in zip(*linear_sum_assignment(-shared), strict=True) if shared[a, b] >= SAME
            ]
        right, _ = words([seen[a]["look"] for a, _ in pairs], [truth_of(there[b]) for _, b in pairs])
        attributes.add(right, sum(len(s["look"]) for s in seen), true)
        boxes.add(len(pairs), len(seen), len(there))


def follows(boxes: dict[int, Sequence[float]], track: Track) -> float:
    """Share of the frames of either in which both are, in one place."""
    both = [f for f in boxes if f in track.boxes]
    return sum(iou(boxes[f], track.boxes[f]) >= SAME for f in both) / len({*boxes, *track.boxes})


def of_targets(
    targets: list[dict], sample: Sample, asked: set[int], attributes: Tally, boxes: Tally, tracks: Tally
) -> None:
    """Timelines against the truth's objects, each at most once; boxes in the frames that were asked about."""
    truth = list(sample.tracks or ())
    told = [{int(f): b for f, b in t["boxes"].items()} for t in targets]
    shared = np.array([[follows(b, t) for t in truth] for b in told])
    pairs = []
    if told and truth:
        pairs = [(a, b) for a, b in zip(*linear_sum_assignment(-shared), strict=True) if shared[a, b] > 0]
    right, _ = words([targets[a]["look"] for a, _ in pairs], [truth_of(truth[b]) for _, b in pairs])
    attributes.add(right, sum(len(t["look"]) for t in targets), sum(len(truth_of(t)) for t in truth))
    tracks.add(sum(shared[a, b] >= SAME for a, b in pairs), len(targets), len(truth))
    hit = sum(
        iou(box, truth[b].boxes[f]) >= SAME
        for a, b in pairs
        for f, box in told[a].items()
        if f in asked and f in truth[b].boxes
    )
    count = sum(f in asked for b in told for f in b)
    boxes.add(hit, count, sum(f in asked for t in truth for f in t.boxes))


def clean(targets: list[dict]) -> list[dict]:
    """What goes into the data set without a person: nothing that waits for review or was dropped."""
    return [t for t in targets if t["verdict"] == "kept"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("runs/annotate"))
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.1, 0.3])
    parser.add_argument("--policy", nargs="+", default=["review"], choices=("review", "drop"))
    given = parser.parse_args()
    folder = given.out / "scenes"
    truth = {s.id: s for s in generate(ScenesConfig(split="test", clips=given.clips, seed=11), folder)}
    print("| noise | policy | stage | attributes | boxes | trajectories |\n|---|---|---|---|---|---|")
    for noise in given.noise:
        for policy in given.policy:
            out = given.out / f"{policy}-{noise:g}"
            teacher = opened(f"scripted:{folder}", {"noise": noise})
            how = Construction(rate=4.0, contradictions=policy)
            samples, _, spent, counts = run(folder, out, teacher, how, stages=True)
            rows = [json.loads(line) for line in (out / ROWS).read_text().splitlines()]
            names = ("extracted", "joined", "refined", "verified")
            table = {name: (Tally(), Tally(), Tally()) for name in names}
            for row in rows:
                sample = truth[row["id"]]
                of_sightings(row, sample, *table["extracted"][:2])
                asked = {int(f) for f in row["sightings"]}
                for name in names[1:]:
                    targets = row["stages"][name]
                    of_targets(clean(targets) if name == "verified" else targets, sample, asked, *table[name])
            for name, tallies in table.items():
                if name == "verified" or policy == given.policy[0]:
                    print(f"| {noise:g} | {policy} | {name} | {' | '.join(map(str, tallies))} |")
            waiting = {k: v for k, v in counts.items() if k.startswith(("targets", "contra", "words"))}
            print(f"\n{spent}\n{waiting}\n", flush=True)
            if noise == 0:
                scores = {topic: [] for topic in ("target", "motion", "trajectory", "cause")}
                for sample in samples:
                    own, said = dict(truth[sample.id].dialogue or ()), dict(sample.dialogue or ())
                    for topic, found in scores.items():
                        if (asked := DIALOGUE[topic]) in own:
                            found.append(
                                bleu4(said.get(asked, "").lower(), [own[asked].lower()], by="script")
                            )
                print(
                    {topic: f"{100 * np.mean(found):.1f} of {len(found)}" for topic, found in scores.items()},
                    "\n",
                )


if __name__ == "__main__":
    main()
