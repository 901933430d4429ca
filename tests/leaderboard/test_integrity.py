"""What is flagged: copies by what they say, submissions put together from others; the later of two only."""

from datetime import timedelta

import numpy as np
import pytest
from perf import integrity_flags
from scipy.stats import binom

from leaderboard.board import phases
from leaderboard.card import Card
from leaderboard.store import integrity
from leaderboard.store.results import Scored


def lines(texts, task="classification"):
    """Lines of a scored run; every other answer is right."""
    return [
        {"id": f"v{n}", "task": task, "response": text, "scores": {"accuracy": float(n % 2)}}
        for n, text in enumerate(texts)
    ]


def alike(one, other) -> bool:
    first, later = (integrity.signature(lines(texts), b"s") for texts in (one, other))
    return bool(list(integrity.resembling(later, [first])))


@pytest.mark.parametrize(
    "spelt", ["{} ", "  {}.", "\n{}", "{}!", "**{}**", '"{}"', "{}\u200b", "\ufeff{}", "\u00a0{}\u3000"]
)
def test_a_copy_is_known_by_what_it_says(spelt):
    rng = np.random.default_rng(11)
    texts = [f"word{k}" for k in rng.integers(0, 9, 100)]
    assert alike(texts, [spelt.format(text).upper() for text in texts])
    assert not alike(texts, [f"word{k}" for k in rng.integers(0, 9, 100)])


def test_parsed_answers_are_compared_where_there_are_any():
    rng = np.random.default_rng(12)
    keys = rng.integers(0, 4, 100)
    one, other = (
        [
            {**line, "read": ["abcd"[key]], "parsed": {"answer": text}}
            for line, key, text in zip(lines(texts, "mcq"), keys, texts, strict=True)
        ]
        for texts in ([f"({'ABCD'[k]})" for k in keys], [f"The answer is {'ABCD'[k]}, surely" for k in keys])
    )
    first, later = (integrity.signature(of, b"s") for of in (one, other))
    assert first == later and list(integrity.resembling(later, [first]))


def test_coin_flippers_are_no_copies():
    rng = np.random.default_rng(13)
    for _ in range(200):
        one, other = ([*rng.choice(["Yes", "No"], 60).tolist(), *[""] * 180] for _ in range(2))
        assert not alike(one, other), "what neither answers is nothing alike"
    for texts in (["Yes"] * 100, [*["Yes"] * 30, *[""] * 70], [""] * 100):
        assert not alike(texts, texts), "who always says Yes has copied nobody"


def test_the_later_of_two_is_flagged_whichever_is_scored_first(store, monkeypatch):
    """A victim that is scored after the copy of its answers has no flag."""
    time = [phases.now()]
    monkeypatch.setattr(phases, "clock", lambda: time[0])
    q = integrity_flags.Questions(np.random.default_rng(14), 4)
    base = q.answers(0.0)
    put = np.where(q.rng.random(len(base)) < 0.6, 0, base)
    sent = [("victim", base), ("thief", base), ("builder", put)]
    for n, (owner, _) in enumerate(sent):
        store.create_account(owner)
        store.submit(owner, f"{n:064x}", Card(owner, "x", "mit", "none", ["d"]), ["scenes"])
        time[0] += timedelta(minutes=1)
    jobs = [store.claim(600) for _ in sent]
    for n in (2, 1, 0):
        metrics = {"mcq.accuracy": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 256}}
        found = Scored("scenes", "public", "abc", metrics, {}, signature=q.words(sent[n][1]).hex())
        store.finish(jobs[n], [found])
    flags = [{(f["kind"], f["name"]) for f in store.flags(f"{n:064x}")} for n in range(3)]
    assert flags == [
        set(),
        {(integrity.NEAR_DUPLICATE, "victim")},
        {(integrity.ASSEMBLED, "victim"), (integrity.ASSEMBLED, "thief")},
    ]


def test_ten_thousand_earlier_ones_are_told_apart_as_one_by_one():
    """By the binomial distributions themselves, for each alone."""
    rng = np.random.default_rng(0)
    mine = (rng.integers(2, 9, 240) * 2 + (rng.random(240) < 0.7)).astype("<u4")
    others = []
    for change in np.linspace(
        0, 0.6, 40
    ):  # of the right ones were wrong before, and of the wrong ones few right
        other, right = mine.copy(), mine % 2 == 1
        other[right & (rng.random(240) < change)] -= 1
        other[~right & (rng.random(240) < rng.random() / 10)] += 1
        others.append(other.tobytes())
    found = {place for place, _ in integrity.assembled(mine.tobytes(), others, [True] * len(others))}

    def alone(other):
        before = np.frombuffer(other, "<u4")
        right, was = mine % 2 == 1, before % 2 == 1
        better, worse, wrong = (right & ~was).sum(), (was & ~right).sum(), (~right).sum()
        common = ((before == mine) & ~right).sum()
        turned = binom.cdf(worse, better + worse, integrity.WORSE) < integrity.TURNED
        return turned and binom.sf(common - 1, wrong, integrity.SHARED) < integrity.MISTAKES

    assert found == {n for n, other in enumerate(others) if alone(other)} and 0 < len(found) < 40


def test_what_is_put_together_from_runs_is_found_and_honest_relatives_are_not():
    for kind in ("two models", "a model and its fine-tune", "a model drawn twice"):
        for options in integrity_flags.OPTIONS:
            near, assembled = integrity_flags.flagged(integrity_flags.KINDS[kind], options, 150, 15)
            assert assembled <= 1 and (near == 0 or kind != "two models"), (kind, options)
    assert integrity_flags.flagged(integrity_flags.put_together, 4, 60, 15)[1] >= 36
    assert integrity_flags.flagged(integrity_flags.copied, 4, 30, 15)[0] == 30
