"""How often the audit of private splits (`bench.leaks`) refuses an honest split, and finds a leak: random
splits, a seed each, of the sizes that are used.

python tests/perf/blind_audit.py --splits 400
"""

import argparse
from collections.abc import Callable

import numpy as np

from bench import leaks
from bench.suite import Item
from leaderboard.board.private import redrawn
from tvad.data import Question, Sample, Video
from tvad.data.questions import LETTERS
from tvad.data.scenes.describe import NOTHING, _options
from tvad.data.scenes.script import ANOMALIES, classes_of

SIZES = (50, 100, 200, 400)
NORMAL = 0.35  # share of clips without an anomaly


def leaky(clips: int, seed: int) -> list[Sample]:
    """Event questions as public clips have them: right options of six classes, wrong ones of thirteen."""
    rng, classes = np.random.default_rng([seed, clips]), list(classes_of("core", "test"))
    found = []
    for n in range(clips):
        right = NOTHING if rng.random() < NORMAL else classes[int(rng.integers(len(classes)))]
        letter, odd = int(rng.integers(4)), right != NOTHING
        asked = (
            Question(
                "mcq",
                "What?",
                LETTERS[letter],
                _options(rng, right, list(ANOMALIES), letter, NOTHING),
                "event",
            ),
            Question("judgement", "Odd?", "Yes" if odd else "No", None, "judgement"),
            Question("classification", "Class?", right if odd else "normal", None, "class"),
            Question("temporal", "When?", "Anomaly" if odd else "Normal", None, "when"),
        )
        label = "anomalous" if odd else "normal"
        found.append(Sample(f"c{n:04d}", "s", "test", Video(f"{n:05d}.mp4"), label, questions=asked))
    return found


def honest(clips: int, seed: int) -> list[Sample]:
    """The same with the wrong options of a private split."""
    return redrawn(leaky(clips, seed), "core", seed)


def of_words(clips: int, seed: int) -> list[Sample]:
    """Two questions a clip, options of random words that stand in no other question."""
    rng, found = np.random.default_rng([seed, clips, 1]), []

    def word() -> str:
        return "".join(rng.choice(list("abcdefghij"), int(rng.integers(3, 9))))

    for n in range(clips):
        asked = tuple(
            Question(
                "mcq",
                f"What about {word()} {word()}?",
                LETTERS[int(rng.integers(4))],
                tuple(f"{word()} {word()} {k}" for k in range(4)),
                topic,
            )
            for topic in ("event", "colour")
        )
        found.append(Sample(f"c{n:04d}", "s", "test", Video(f"{n:05d}.mp4"), "anomalous", questions=asked))
    return found


def sorted_by_class(clips: int, seed: int) -> list[Sample]:
    """Honest questions, clips in the order of their classes."""
    return sorted(honest(clips, seed), key=lambda sample: sample.questions[2].answer)


def often_a(clips: int, seed: int) -> list[Sample]:
    """Two right options of three stand first."""
    rng, found = np.random.default_rng([seed, clips, 2]), []
    for sample in of_words(clips, seed):
        asked = tuple(
            Question(q.kind, q.text, "A" if rng.random() < 0.67 else q.answer, q.options, q.topic)
            for q in sample.questions
        )
        found.append(Sample(sample.id, "s", "test", sample.video, "anomalous", questions=asked))
    return found


def asked_where_odd(clips: int, seed: int) -> list[Sample]:
    """Anomalous clips are asked for a place, too."""
    return [
        Sample(
            s.id,
            "s",
            "test",
            s.video,
            s.label,
            questions=s.questions
            + ((Question("spatial", "Where?", "car"),) if s.label == "anomalous" else ()),
        )
        for s in honest(clips, seed)
    ]


KINDS: dict[str, tuple[bool, Callable[[int, int], list[Sample]]]] = {
    "rendered, core": (False, honest),
    "options of words, two questions a clip": (False, of_words),
    "wrong options of 13 classes, right ones of 6": (True, leaky),
    "sorted by class": (True, sorted_by_class),
    "two right options of three stand first": (True, often_a),
    "a question that anomalous clips alone have": (True, asked_where_odd),
}


def items_of(samples: list[Sample]) -> list[Item]:
    kept = ("mcq", "judgement", "classification", "temporal")
    return [
        Item(f"{s.id}#{k}", q.kind, s, q)
        for s in samples
        for k, q in enumerate(s.questions)
        if q.kind in kept
    ]


def refused(kind: str, clips: int, seeds: range) -> int:
    """How many of the splits of these seeds the audit refuses."""
    return sum(leaks.told(items_of(KINDS[kind][1](clips, seed)), seed) is not None for seed in seeds)


def main() -> int:
    from scipy.stats import binomtest

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=400, help="a kind and size; of leaky ones a tenth")
    parser.add_argument("--seed", type=int, default=10_000, help="of the first")
    known = parser.parse_args()
    print("| split | clips | splits | refused | 95 % interval |\n|---|---|---|---|---|")
    for kind, (leak, _) in KINDS.items():
        count = max(1, known.splits // 10) if leak else known.splits
        for clips in SIZES:
            hits = refused(kind, clips, range(known.seed, known.seed + count))
            low, high = binomtest(hits, count).proportion_ci()
            shown = f"{100 * hits / count:.1f} % | {100 * low:.1f} to {100 * high:.1f}"
            print(f"| {kind} | {clips} | {count} | {shown} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
