"""Whether questions tell their answers: what a learner gets right that sees no picture but only words,
options, the names and the order of clips and which questions a clip has, beside the best answer that only
knows how often each is right; and options that are hardly ever, or nearly always, right where they are
offered. Learned in folds by video on the labels themselves, so that it knows what an insider would.

Questions of one video count as one: they err together. How often honest splits are refused, and leaks found:
docs/measurements/leaderboard.md."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from bench.blind import FOLDS, MOST_TEXTS, TASKS
from bench.suite import Item
from tvad.data.questions import LETTERS

MARGIN = 0.05  # by which a learner has to beat knowing the frequencies, and
CHANCE = 1e-2  # how likely any of a split's tests may say so by chance
APART = 3  # an option is right so many times less often, or wrong so many times less often, than others
OFTEN = 5  # right, and wrong, answers that an option has to be expected to be
TESTS = 5  # of a task
NEAR = 2  # clips before and behind one, in the suite's order, whose answers are looked at


def _options(item: Item) -> tuple[str, ...]:
    return item.question.options or ()


def _answer(item: Item) -> str:
    """The right answer in words: of lettered options the option, for letters say nothing by themselves."""
    options = _options(item)
    return options[LETTERS.index(item.question.answer)] if options else item.question.answer


def _told(item: Item) -> str:
    """All that is given out of a question beside the clip: its words, which questions the clip has."""
    asked = " ".join(f"asks_{q.kind}_{q.topic}" for q in item.sample.questions)
    return f"{item.question.text} {asked}"


def _names(item: Item) -> str:
    return f"{item.sample.id} {item.sample.video.path}"


def _likeliest(item: Item, scores: dict[str, float]) -> str:
    """The likeliest answer, of those that are among the options."""
    of = [option for option in _options(item) or scores if option in scores] or list(scores)
    return max(of, key=lambda answer: scores[answer])


def _by_text(texts: list[str], items: list[Item], fold: np.ndarray, **words: Any) -> list[str]:
    """Answers learned from `texts` in folds; words: how they are cut."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    answers, found = [_answer(item) for item in items], [""] * len(items)
    for part in range(FOLDS):
        inside, outside = np.flatnonzero(fold == part), np.flatnonzero(fold != part)
        if len({answers[i] for i in outside}) < 2:
            continue
        model = make_pipeline(CountVectorizer(**words), LogisticRegression(max_iter=500, tol=1e-2))
        model.fit([texts[i] for i in outside], [answers[i] for i in outside])
        for i, row in zip(inside, model.predict_proba([texts[i] for i in inside]), strict=True):
            found[i] = _likeliest(items[i], dict(zip(model.classes_.tolist(), row.tolist(), strict=True)))
    return found


def _about(item: Item, place: int) -> dict[str, float]:
    """What is seen of an option: itself, its words, its place, its length beside the others'."""
    options = _options(item)
    lengths = [len(option) for option in options]
    seen = {f"is {options[place]}", f"place {place}", *(f"word {w}" for w in options[place].split())}
    seen |= {"longest"} if lengths[place] == max(lengths) else set()
    seen |= {"shortest"} if lengths[place] == min(lengths) else set()
    return dict.fromkeys(sorted(seen), 1.0)


def _by_options(items: list[Item], fold: np.ndarray) -> list[str]:
    """The likeliest option by what right ones look like, learned in folds."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = [[_about(item, place) for place in range(len(_options(item)))] for item in items]
    found = [""] * len(items)
    for part in range(FOLDS):
        outside = np.flatnonzero(fold != part)
        right = [_options(items[i])[k] == _answer(items[i]) for i in outside for k in range(len(rows[i]))]
        if len(set(right)) < 2:
            continue
        model = make_pipeline(DictVectorizer(), LogisticRegression(max_iter=500, tol=1e-2))
        model.fit([row for i in outside for row in rows[i]], right)
        for i in np.flatnonzero(fold == part):
            found[i] = _options(items[i])[int(np.argmax(model.decision_function(rows[i])))]
    return found


def _by_order(items: list[Item]) -> list[str]:
    answers, found = [_answer(item) for item in items], []
    for n, item in enumerate(items):
        near = [
            answers[k]
            for k in range(max(0, n - NEAR), min(len(items), n + NEAR + 1))
            if items[k].sample.id != item.sample.id
        ]
        found.append(_likeliest(item, {a: float(c) for a, c in Counter(near).items()}) if near else "")
    return found


def _lopsided(items: list[Item], chance: float) -> str | None:
    """Options that are hardly ever, or nearly always, right where they are offered (APART), in words; None
    where there is none, or the shares of all often offered ones may differ so by chance (chi-square). The
    answer that is right most often is left out: to know it is what blind answers may."""
    from scipy.stats import chi2  # seconds of import that few commands need

    offered, right = defaultdict(set), defaultdict(set)
    for item in items:
        for option in _options(item):
            offered[option].add(item.sample.id)
        right[_answer(item)].add(item.sample.id)
    top = max(sorted(right), key=lambda option: len(right[option]))
    others = sorted(option for option in offered if option != top)
    usual = sum(len(right[o]) for o in others) / max(1, sum(len(offered[o]) for o in others))
    often = [o for o in others if len(offered[o]) * min(usual, 1 - usual) >= OFTEN]
    shares = {option: len(right[option]) / len(offered[option]) for option in often}
    apart = [o for o, share in shares.items() if not usual / APART <= share <= 1 - (1 - usual) / APART]
    off = sum(len(offered[o]) * (shares[o] - usual) ** 2 / (usual * (1 - usual)) for o in often)
    if not apart or chi2.sf(off, len(often)) >= chance:
        return None
    words = ", ".join(f"{o!r} {len(right[o])} of {len(offered[o])} times" for o in apart[:3])
    more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
    return f"of its options are right {words}{more}, others {usual:.0%} of the time"


def _blind(items: list[Item], seed: int) -> Iterator[tuple[str, list[str]]]:
    """(by what, the answers) of every way to answer a task's questions without looking."""
    videos = sorted({item.sample.id for item in items})
    place = np.random.default_rng(seed).permutation(len(videos)) % FOLDS
    parts = dict(zip(videos, place.tolist(), strict=True))
    fold = np.array([parts[item.sample.id] for item in items])
    words = [_told(item) for item in items]
    yield "its words and which questions a clip has", _by_text(words, items, fold, token_pattern=r"\S+")
    names = [_names(item) for item in items]
    yield "the names of clips", _by_text(names, items, fold, analyzer="char_wb", ngram_range=(3, 4))
    yield "the order of the clips", _by_order(items)
    if all(map(_options, items)):
        yield "its options", _by_options(items, fold)


def told(items: list[Item], seed: int = 0) -> str | None:
    """Which task can be answered without looking, in a line with its figures; None where none can. Of fewer
    than two videos a fold nothing can be learned."""
    from scipy.stats import binom

    tasks = [task for task in TASKS if any(item.task == task for item in items)]
    for task in tasks:
        chosen = [item for item in items if item.task == task][:MOST_TEXTS]
        videos = len({item.sample.id for item in chosen})
        if videos < 2 * FOLDS:
            continue
        answers, chance = [_answer(item) for item in chosen], CHANCE / len(tasks) / TESTS
        floor = Counter(answers).most_common(1)[0][1] / len(answers)
        if all(map(_options, chosen)):
            floor = max(floor, float(np.mean([1 / len(_options(item)) for item in chosen])))
            if lopsided := _lopsided(chosen, chance):
                return f"{task}: {lopsided}"
        for how, found in _blind(chosen, seed):
            share = sum(a == b for a, b in zip(found, answers, strict=True)) / len(answers)
            if share > floor + MARGIN and binom.sf(round(share * videos) - 1, videos, floor) < chance:
                return (
                    f"{task} is answered right {share:.3f} of {len(answers)} times without looking, by {how};"
                    f" {floor:.3f} by the most frequent answer alone"
                )
    return None
