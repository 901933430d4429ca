"""How often the intervals of this benchmark hold, and how often its tests cry wolf, on made-up runs whose
truth is known: the table by which the rules of `bench.metrics.stats` and `bench.metrics.paired` were chosen.

A made-up run has V videos of one, four, or one to eight questions, answers right with probability p, and
within-video correlations of 0, 0.3 and 0.7 (beta-distributed videos); scored answers lie in 0..1. Areas are
of normal scores, one a video or four frames a video; macro F1 is of two classes and of six, alike or with a
rare, hard one, balanced accuracy with a rare one that is as easy or easier. Of two runs half of the videos
are as hard for both. Every cell is the worst of its scenarios. Left out: BLEU by corpus, RBDC and TBDC, whose
truth has no formula; they go by the same rule.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from bench.metrics import labels
from bench.metrics.paired import CHANGED, change_bounds, pseudo_values, share_beyond, sign_flip
from bench.metrics.stats import RARE, bounds, evenness
from tvad.common.errors import InputError

VIDEOS = (4, 8, 12, 30, 60, 240)
VALUES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
ALPHA = 0.05
SIZES = (1, 4, 8)  # questions a video; 8: one to eight
CORRELATIONS = (0.0, 0.3, 0.7)
TURNINGS, RESAMPLES = 499, 499  # of the tests, a run
FRAMES = 4
BLOCK = 1 << 22  # numbers that the areas of one block of runs hold


@dataclass(frozen=True)
class Cell:
    """Of one kind of figure, number of videos and value, the worst of its scenarios: coverage of the
    intervals (an interval that is not printed is not wrong), the widest's median width, false positives at
    0.05 of the turning of signs, of McNemar's test and of the gate (None where there is none); `printed`: the
    share of all runs that have an interval."""

    kind: str
    videos: int
    value: float
    coverage: float
    printed: float
    width: float
    flipped: float | None = None
    mcnemar: float | None = None
    gate: float | None = None


def _held(low: np.ndarray, high: np.ndarray, truth: float, printed: np.ndarray) -> tuple[float, float, float]:
    """(share of the runs without a wrong printed interval, share with one, its median width)."""
    wrong = printed & ((low > truth + 1e-12) | (high < truth - 1e-12))
    width = float(np.median((high - low)[printed])) if printed.any() else np.nan
    return 1 - float(wrong.mean()), float(printed.mean()), width


def _worst(kind: str, videos: int, value: float, rows: list[tuple]) -> Cell:
    coverage, printed, width, *rates = zip(*rows, strict=True)
    return Cell(
        kind, videos, value, min(coverage), float(np.mean(printed)), float(np.nanmax(width)), *map(max, rates)
    )


# Answers: (R, V, 8) right or wrong, of which the first (R, V) of each video are asked.


def _sizes(rng: np.random.Generator, size: int, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(1, 9, shape) if size == 8 else np.full(shape, size)


def _likely(easy: np.ndarray, value: float, correlation: float) -> np.ndarray:
    """How likely a right answer is in videos that are so easy (uniform in 0..1): beta, of mean `value`."""
    from scipy.special import betaincinv

    if correlation == 0:
        return np.full(easy.shape, value)
    both = (1 - correlation) / correlation
    return betaincinv(value * both, (1 - value) * both, easy)


def _answers(
    rng: np.random.Generator, runs: int, videos: int, value: float, size: int, correlation: float
) -> tuple[np.ndarray, ...]:
    """(right in both, before alone, after alone, questions), (R, V) each; the two runs are alike in law: half
    of the videos are as hard for the one as for the other, and half of their luck is the same."""
    counts = _sizes(rng, size, (runs, videos))
    easy, other = rng.random((2, runs, videos))
    luck, own = rng.random((2, runs, videos, size))
    easy_after = np.where(rng.random(easy.shape) < 0.5, easy, other)
    luck_after = np.where(rng.random(luck.shape) < 0.5, luck, own)
    asked = np.arange(size) < counts[..., None]
    before = (luck < _likely(easy, value, correlation)[..., None]) & asked
    after = (luck_after < _likely(easy_after, value, correlation)[..., None]) & asked
    return (before & after).sum(-1), (before & ~after).sum(-1), (after & ~before).sum(-1), counts


def _mean_bounds(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    worth = evenness(counts)
    total, number = sums.sum(-1, keepdims=True), counts.sum(-1, keepdims=True)
    value = (total / number)[..., 0]
    return bounds(value, (total - sums) / (number - counts), worth, worth)


def _means(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
    rows = []
    for size in SIZES:
        for correlation in CORRELATIONS:
            both, alone, _, counts = _answers(rng, runs, videos, value, size, correlation)
            rows.append(_held(*_mean_bounds(both + alone, counts), value, np.ones(runs, bool)))
    return _worst("mean of right and wrong", videos, value, rows)


def _scores(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
    """Means of scores: a beta-distributed one where the answer is right, 0 where it is not."""
    rows = []
    for correlation in CORRELATIONS:
        half = value**0.5  # of being right, and the mean score then
        likely = _likely(rng.random((runs, videos)), half, correlation)[..., None]
        score = rng.beta(20 * half, 20 * (1 - half), (runs, videos, 4))
        sums = (score * (rng.random(score.shape) < likely)).sum(-1)
        held = _mean_bounds(sums, np.full(sums.shape, 4))
        rows.append(_held(*held, value, np.ones(runs, bool)))
    return _worst("mean of scores 0..1", videos, value, rows)


def _mcnemar(lost: np.ndarray, won: np.ndarray) -> np.ndarray:
    """Exact two-sided p-values of the test that takes questions for independent, for comparison."""
    from scipy.stats import binom

    return np.minimum(1, 2 * binom.cdf(np.minimum(lost, won), lost + won, 0.5))


def _paired(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
    """The change of a mean, between two runs that are equally good."""
    rows = []
    for size in SIZES:
        for correlation in CORRELATIONS:
            _, lost, won, counts = _answers(rng, runs, videos, value, size, correlation)
            change = won - lost
            total, number = change.sum(-1, keepdims=True), counts.sum(-1, keepdims=True)
            without = (total - change) / (number - counts)
            shares = pseudo_values((total / number)[..., 0], without)
            low, high, _ = change_bounds(shares, evenness(counts))
            held = _held(low, high, 0.0, (change != 0).sum(-1) >= CHANGED)
            flipped = np.mean([sign_flip(row, TURNINGS, n) <= ALPHA for n, row in enumerate(change)])
            gate = np.mean(
                [
                    share_beyond(row / c, np.arange(videos), 0.0, RESAMPLES, n) < ALPHA
                    for n, (row, c) in enumerate(zip(change, counts, strict=True))
                ]
            )
            rows.append((*held, flipped, (_mcnemar(lost.sum(-1), won.sum(-1)) <= ALPHA).mean(), gate))
    return _worst("change of a mean", videos, value, rows)


# Areas: scores and labels (R, V, F).


def _kernel(score: np.ndarray, lit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC (R,) and those without each video (R, V): pairs of an anomalous frame above a normal one."""
    above = np.zeros((len(score), score.shape[1], score.shape[1]))
    for a in range(score.shape[2]):
        for b in range(score.shape[2]):
            both = lit[:, :, None, a] & ~lit[:, None, :, b]
            above += (score[:, :, None, a] > score[:, None, :, b]) & both
    positive, negative = lit.sum(2), (~lit).sum(2)
    every, p, n = above.sum((1, 2)), positive.sum(1), negative.sum(1)
    own = np.einsum("rvv->rv", above)
    left = every[:, None] - above.sum(2) - above.sum(1) + own
    return every / (p * n), left / ((p[:, None] - positive) * (n[:, None] - negative))


def _areas(
    rng: np.random.Generator, runs: int, videos: int, value: float, frames: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """Blocks of (area, without each video) of two runs that are equally good, by how alike frames are."""
    from scipy.special import ndtri

    lit = np.zeros((videos, frames), bool)
    lit[: videos // 2, : max(1, frames // 2)] = True
    apart = ndtri(value) * 2**0.5 * lit
    for alike in (0.2, 0.6) if frames > 1 else (0.0,):
        block = max(1, BLOCK // videos**2)
        found = []
        for start in range(0, runs, block):
            shape = (min(block, runs - start), videos, frames)

            def noise(shape=shape, alike=alike) -> np.ndarray:
                video = rng.normal(size=(*shape[:2], 1))
                return alike**0.5 * video + (1 - alike) ** 0.5 * rng.normal(size=shape)

            shared, every = noise(), np.broadcast_to(lit, shape)
            pair = [_kernel(apart + 0.5**0.5 * (shared + noise()), every) for _ in range(2)]
            found.append([*pair[0], *pair[1]])
        yield tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _area(frames: int, kind: str) -> Callable[..., Cell]:
    def cell(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
        rows = []
        for before, without, _, _ in _areas(rng, runs, videos, value, frames):
            held = bounds(before, without, np.array(videos // 2), np.array(videos))
            rows.append(_held(*held, value, np.ones(len(before), bool)))
        return _worst(kind, videos, value, rows)

    return cell


def _area_change(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
    rows = []
    for frames in (1, FRAMES):
        for before, one, after, other in _areas(rng, runs, videos, value, frames):
            shares = pseudo_values(after - before, other - one)
            low, high, _ = change_bounds(shares, np.array(videos))
            held = _held(low, high, 0.0, np.ones(len(before), bool))
            flips = [sign_flip(row, TURNINGS, n) <= ALPHA for n, row in enumerate(shares)]
            rows.append((*held, np.mean(flips)))
    return _worst("change of an AUC", videos, value, rows)


def _macro(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
    """Macro F1: two questions a video about its class; of six classes one is rare and harder."""
    rows = []
    for classes, hard in ((2, False), (6, False), (2, True), (6, True)):
        rare = 0.2 if classes == 2 else 0.05
        often = (
            np.array([*[(1 - rare) / (classes - 1)] * (classes - 1), rare])
            if hard
            else np.full(classes, 1 / classes)
        )
        share = (
            np.array([*[0.5 / (classes - 1)] * (classes - 1), 0.5]) if hard else np.full(classes, 1 / classes)
        )
        right = np.clip(1 - (1 - value) * classes * share, 0, 1)
        law = (often * (1 - right) / (classes - 1))[:, None] * np.ones((classes, classes + 1))
        law[:, -1] = 0
        law[np.arange(classes), np.arange(classes)] = often * right
        truth = float(labels.f1(law))
        given = rng.choice(classes, (runs, videos), p=often)
        hit = rng.random((runs, videos, 2)) < right[given][..., None]
        named = np.where(
            hit, given[..., None], (given[..., None] + rng.integers(1, classes, hit.shape)) % classes
        )
        counts = np.zeros((runs, videos, classes, classes + 1), np.float32)
        at = np.ogrid[:runs, :videos]
        for n in range(2):
            np.add.at(counts, (at[0], at[1], given, named[..., n]), 1)
        every = counts.sum(1)
        low, high = bounds(
            labels.f1(every), labels.f1(every[:, None] - counts), np.array(videos), np.array(videos)
        )
        number = (given[..., None] == np.arange(classes)).sum(1)
        rows.append(_held(low, high, truth, np.where(number > 0, number, RARE).min(1) >= RARE))
    return _worst("macro F1", videos, value, rows)


def _balanced(rng: np.random.Generator, runs: int, videos: int, value: float) -> Cell:
    """Balanced accuracy: a question a video about its class, of which one is rare, and as easy or easier."""
    rows = []
    for classes, rare, hard in ((2, 0.5, 1.0), (2, 0.05, 1.0), (2, 0.05, 0.5), (2, 0.2, 0.1), (6, 0.05, 0.5)):
        often = np.array([*[(1 - rare) / (classes - 1)] * (classes - 1), rare])
        wrong = (1 - value) * np.array([*[(classes - hard) / (classes - 1)] * (classes - 1), hard])
        given = rng.choice(classes, (runs, videos), p=often)
        named = (given + (rng.random(given.shape) < wrong[given])) % classes
        counts = np.zeros((runs, videos, classes, classes + 1), np.float32)
        np.add.at(counts, (*np.ogrid[:runs, :videos], given, named), 1)
        every, number = counts.sum(1), counts.sum((1, 3))
        low, high = bounds(
            labels.balanced_accuracy(every),
            labels.balanced_accuracy(every[:, None] - counts),
            labels.rests_on(every, number),
            np.array(videos),
        )
        printed = np.where(number > 0, number, RARE).min(1) >= RARE
        printed &= (number > 0).all(1)  # a class that never occurs makes it another figure
        rows.append(_held(low, high, value, printed))
    return _worst("balanced accuracy", videos, value, rows)


TESTS = {
    "flipped": "signs of videos turned (`bench compare`)",
    "mcnemar": "McNemar's exact test, for comparison",
    "gate": "one metric of a gate without a tolerated drop",
}
KINDS: dict[str, Callable[..., Cell]] = {
    "mean": _means,
    "score": _scores,
    "auc": _area(1, "AUC, a score a video"),
    "frames": _area(FRAMES, "AUC, four frames a video"),
    "f1": _macro,
    "balanced": _balanced,
    "change": _paired,
    "auc-change": _area_change,
}


def asked(
    runs: int, videos: Sequence[str], values: Sequence[str], kinds: Sequence[str], seed: int
) -> list[Cell]:
    """`simulate` of what was typed. Raises InputError."""
    if runs < 1:
        raise InputError(f"--runs is {runs}, expected 1 or more")
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"--figure {kind}: unknown; known: {', '.join(KINDS)}")
    try:
        numbers, chances = [int(v) for v in videos], [float(v) for v in values]
    except ValueError as error:
        raise InputError(f"--videos, --value: {error}") from None
    if bad := [v for v in numbers if v < 4]:
        raise InputError(f"--videos is {bad[0]}, expected 4 or more")
    if wrong := [v for v in chances if not 0.5 <= v <= 0.99]:
        raise InputError(f"--value is {wrong[0]:g}, expected 0.5 to 0.99")
    return simulate(runs, numbers or VIDEOS, chances or VALUES, kinds, seed)


def simulate(
    runs: int,
    videos: Sequence[int] = VIDEOS,
    values: Sequence[float] = VALUES,
    kinds: Sequence[str] = (),
    seed: int = 0,
) -> list[Cell]:
    """Every cell of the table, with a generator of its own."""
    every = [(k, v, p) for k in kinds or KINDS for v in videos for p in values]
    return [
        KINDS[kind](np.random.default_rng([seed, *kind.encode(), v, round(1000 * p)]), runs, v, p)
        for kind, v, p in tqdm(every, unit="cell", desc="coverage", disable=None)
    ]


def _grid(cells: list[Cell], what: str, shown: Callable[[Cell], str]) -> list[str]:
    values = sorted({cell.value for cell in cells})
    lines = [what, f"{'figure':24s} {'videos':>6s}" + "".join(f"{v:>12g}" for v in values)]
    for kind, videos in dict.fromkeys((cell.kind, cell.videos) for cell in cells):
        row = {cell.value: shown(cell) for cell in cells if (cell.kind, cell.videos) == (kind, videos)}
        lines.append(f"{kind:24s} {videos:6d}" + "".join(f"{row[v]:>12s}" for v in values))
    return lines


def table(cells: list[Cell]) -> str:
    """Coverage, and of comparisons the false positives, by the true value."""

    def covered(cell: Cell) -> str:
        return f"{cell.coverage:.3f}" + (f" ({cell.printed:.0%})" if cell.printed < 0.995 else "")

    lines = _grid(cells, "Coverage of 95 % intervals, (share of runs in which one is printed)", covered)
    for name, test in TESTS.items():
        if some := [cell for cell in cells if getattr(cell, name) is not None]:
            rates = {cell: f"{getattr(cell, name):.3f}" for cell in some}
            lines += ["", *_grid(some, f"False positives at 0.05 between equals: {test}", rates.__getitem__)]
    return "\n".join(lines)
