"""How often `leaderboard.store.integrity` flags honest pairs of submissions, and finds copies and assembled
ones, by simulation. Questions are easy or hard for all models alike (logistic, difficulties of a standard
deviation of SPREAD), and hard ones have a favourite wrong answer.

python tests/perf/integrity_flags.py --pairs 5000 --seed 20261127
"""

import argparse
from collections.abc import Callable

import numpy as np

from leaderboard.store import integrity

COUNT, SPREAD = integrity.SAMPLED, 2.0
FAVOURITE = 0.6  # of wrong answers that are the question's usual one, where there are several
OPTIONS = (2, 4, 8)


class Questions:
    """Difficulties, and answers of models of some ability."""

    def __init__(self, rng: np.random.Generator, options: int):
        self.rng, self.options = rng, options
        self.hard, self.usual = rng.normal(0, SPREAD, COUNT), rng.integers(1, options, COUNT)
        self.truth = rng.integers(0, options, COUNT)

    def answers(self, ability: float) -> np.ndarray:
        """Numbers of options, the truth's first."""
        right = self.rng.random(COUNT) < 1 / (1 + np.exp(self.hard - ability))
        other = self.rng.integers(1, self.options, COUNT)
        wrong = np.where(self.rng.random(COUNT) < FAVOURITE, self.usual, other)
        return np.where(right, 0, wrong)

    def words(self, answers: np.ndarray) -> bytes:
        """As a signature: what is said, and whether it is right."""
        said = (self.truth + answers) % self.options
        return (4 + 2 * said + (answers == 0)).astype("<u4").tobytes()


def strangers(q: Questions) -> tuple[np.ndarray, np.ndarray]:
    """Two models that share nothing but what is hard."""
    ability = q.rng.uniform(-1, 3)
    return q.answers(ability), q.answers(ability + q.rng.normal(0, 0.5))


def tuned(q: Questions) -> tuple[np.ndarray, np.ndarray]:
    """A model and a better one made from it: of its answers a share is thought about anew."""
    ability = q.rng.uniform(-1, 2)
    base = q.answers(ability)
    anew = q.rng.random(COUNT) < q.rng.uniform(0.05, 0.9)
    return base, np.where(anew, q.answers(ability + q.rng.uniform(0, 2)), base)


def drawn_again(q: Questions) -> tuple[np.ndarray, np.ndarray]:
    """A model asked twice at a temperature."""
    ability = q.rng.uniform(-1, 3)
    base = q.answers(ability)
    anew = q.rng.random(COUNT) < q.rng.uniform(0.1, 0.5)
    return base, np.where(anew, q.answers(ability), base)


def copied(q: Questions) -> tuple[np.ndarray, np.ndarray]:
    """A copy with one of twenty answers drawn."""
    base = q.answers(q.rng.uniform(-1, 2))
    return base, np.where(q.rng.random(COUNT) < 0.05, q.rng.integers(0, q.options, COUNT), base)


def put_together(q: Questions) -> tuple[np.ndarray, np.ndarray]:
    """A run, and the same with wrong answers put right where one of two other runs is right."""
    ability = q.rng.uniform(-1, 2)
    runs = [q.answers(ability) for _ in range(3)]
    return runs[0], np.where((runs[1] == 0) | (runs[2] == 0), 0, runs[0])


Pairs = Callable[[Questions], tuple[np.ndarray, np.ndarray]]
KINDS: dict[str, Pairs] = {
    "two models": strangers,
    "a model and its fine-tune": tuned,
    "a model drawn twice": drawn_again,
    "a copy, one answer of 20 drawn": copied,
    "put together from three runs": put_together,
}


def flagged(pairs: Pairs, options: int, count: int, seed: int) -> tuple[int, int]:
    """Of so many pairs those flagged as near-duplicate, as assembled: the later by the earlier."""
    rng, near, assembled = np.random.default_rng([seed, options]), 0, 0
    for _ in range(count):
        q = Questions(rng, options)
        first, later = map(q.words, pairs(q))
        near += bool(list(integrity.resembling(later, [first])))
        assembled += bool(list(integrity.assembled(later, [first], [True])))
    return near, assembled


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=20261127)
    known = parser.parse_args()
    print("| pair | options | near-duplicate | assembled |\n|---|---|---|---|")
    for kind, pairs in KINDS.items():
        for options in OPTIONS:
            near, assembled = flagged(pairs, options, known.pairs, known.seed)
            shares = f"{100 * near / known.pairs:.2f} % | {100 * assembled / known.pairs:.2f} %"
            print(f"| {kind} | {options} | {shares} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
