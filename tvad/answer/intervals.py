"""Which two of a text's times make a span, which spans are denied, and whether a text says that there is
none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tvad.answer.time_words import SECONDS
from tvad.answer.times import TIME, Item


@dataclass(slots=True)
class Said:
    """Two times that make a span, as written; `first`, `last`: the places of their items."""

    start: Item
    end: Item
    first: int
    last: int
    back: bool = False  # `start` is a length, counted from the video's end
    open: bool = False  # one of the ends is not said
    aside: "Said | None" = None  # the same in another unit


def _edge(item: Item) -> Item | None:
    """The time of an item: its own, or the video's start, middle or end."""
    if item.kind == TIME:
        return item
    share = {"start": 0.0, "first": 0.0, "middle": 0.5, "end": 1.0, "last": 1.0}.get(item.kind)
    return None if share is None else replace(item, kind=TIME, value=share, unit="share")


_PARTS = {"half": 2, "third": 3, "quarter": 4}
_REACH = 60  # items between "starts at" and "ends at"
_NEAR = 8  # words between such a word and its time


class Intervals:
    """Goes through the items of a text from left to right; every step looks at a bounded number of them."""

    def __init__(self, found: list[Item]):
        self.items = found

    def kind(self, n: int) -> str:
        return self.items[n].kind if 0 <= n < len(self.items) else "stop"

    def spans(self) -> Iterator[Said]:
        n = 0
        while n < len(self.items):
            said = self.at(n)
            if said is None:
                n += 1
            elif isinstance(said, int):
                n = said
            else:
                yield said
                n = said.last + 1

    def at(self, n: int) -> Said | int | None:
        """The span that begins at item n; the place to go on from where there is something else."""
        kind = self.kind(n)
        if kind == "open":
            return self.pair(n)
        if kind in ("lasts", "length"):
            return self.lasting(n)
        if kind in (TIME, "start", "end", "first", "last", "middle"):
            return self.range(n) or self.share(n) or self.named(n)
        if kind == "unit":
            return self.share(n)
        if kind == "until" and self.kind(n + 1) == TIME and self.kind(n - 1) in ("stop", "comma"):
            return Said(Item(TIME, 0, 0, unit="share"), self.items[n + 1], n, n + 1, open=True)
        if kind == "since" and self.kind(n + 1) == TIME and self.range(n + 1) is None:
            return self.onwards(n, n + 1)
        return None

    def said(self, start: Item, end: Item, first: int, last: int) -> Said:
        """A unit behind a bracket or in front of it counts for both ends."""
        for place in (last + 1, first - 1):
            if self.kind(place) == "unit" and start.unit is None and end.unit is None:
                unit, ahead, last = self.items[place].unit, place < first, max(last, place)
                start = replace(start, unit=unit, before=ahead)
                end = replace(end, unit=unit, before=ahead)
        return Said(start, end, first, last)

    def pair(self, n: int) -> Said | None:
        """[3, 7], [3; 7], [3, end]"""
        if [self.kind(n + 2), self.kind(n + 4)] not in (["comma", "close"], ["semi", "close"]):
            return None
        if TIME not in (self.kind(n + 1), self.kind(n + 3)):
            return None
        start, end = _edge(self.items[n + 1]), _edge(self.items[n + 3])
        return None if start is None or end is None else self.said(start, end, n, n + 4)

    def joint(self, n: int) -> int:
        """The place behind the words "to" or "until" at n, n where there is none."""
        at = n
        while self.kind(at) in ("comma", "and", "lasts"):  # ", lasting until"
            at += 1
        first = at
        while self.kind(at) in ("to", "until") or (at > first and self.kind(at) == "from"):
            at += 1
        return at if at > first else n

    def range(self, n: int) -> Said | int | None:
        """3 to 7, 3-7, from the start until 7, between 3 and 7, 3 and 7 之间."""
        start = _edge(self.items[n])
        behind = self.joint(n + 1)
        if start is None:
            return None
        if behind > n + 1 and behind < len(self.items):
            end = _edge(self.items[behind])
            if end is not None and end.unit == "share" and self.kind(behind + 1) == TIME:
                end, behind = self.items[behind + 1], behind + 1  # "to the end, at 7 s"
            if end is None or (self.items[n].kind != TIME and self.items[behind].kind != TIME):
                spelt = self.kind(n + 1) == "until" or self.items[n + 1].text.isalpha()
                if end is None or not spelt or self.items[n].kind == "end":
                    return None
            onward = self.joint(behind + 1)
            if onward > behind + 1 and self.kind(onward) == TIME:
                while self.joint(onward + 1) > onward + 1 and self.kind(self.joint(onward + 1)) == TIME:
                    onward = self.joint(onward + 1)
                return onward + 1  # 2019-03-04
            if self.kind(n - 1) == "lasts" and start.unit != "clock":
                return behind + 1  # "lasts 3 to 7 s"
            return self.said(start, end, n, behind)
        between = self.kind(n - 1) == "between" or self.kind(n + 3) == "between"
        if self.kind(n) == TIME and self.kind(n + 1) == "and" and self.kind(n + 2) == TIME and between:
            return self.said(start, self.items[n + 2], n, n + 2)
        if self.kind(n) == TIME and self.kind(n + 1) in ("on", "since"):
            return self.onwards(n, n)
        return None

    def onwards(self, first: int, time: int) -> Said:
        end = Item(TIME, 0, 0, unit="share", value=1.0)
        return Said(self.items[time], end, first, time + (time == first), open=True)

    def share(self, n: int) -> Said | None:
        """The first 10 s, the last minute, the second half."""
        kind, ahead = self.kind(n), self.items[n + 1] if n + 1 < len(self.items) else None
        if ahead is None or kind not in ("first", "last", "unit", TIME):
            return None
        if (parts := _PARTS.get(ahead.kind)) is not None and kind != TIME:
            if kind == "unit" and self.items[n].text != "second":
                return None
            place = 0 if kind == "first" else 1 if kind == "unit" else parts - 1
            ends = [replace(ahead, kind=TIME, value=(place + k) / parts, unit="share") for k in (0, 1)]
            return Said(ends[0], ends[1], n, n + 1)
        if kind == TIME and ahead.kind in ("first", "last") and self.kind(n + 2) == "unit":
            length = replace(self.items[n], unit=self.items[n + 2].unit)  # "les 5 dernières secondes"
            return self.length(ahead.kind, length, n, n + 2)
        if kind == "unit" or kind == TIME:
            return None
        if ahead.kind == TIME and ahead.unit not in (None, "clock"):
            return self.length(kind, ahead, n, n + 1) if self.range(n + 1) is None else None
        if ahead.kind == "unit" and ahead.unit in SECONDS:
            return self.length(kind, replace(ahead, kind=TIME, value=1.0), n, n + 1)
        return None

    def length(self, kind: str, length: Item, first: int, last: int) -> Said:
        if kind == "first":
            return Said(Item(TIME, 0, 0, unit="share"), length, first, last)
        return Said(length, Item(TIME, 0, 0, value=1.0, unit="share"), first, last, back=True)

    def after(self, n: int) -> int | None:
        """The place of the time that the word at n announces."""
        for place in range(n + 1, min(n + 1 + _NEAR, len(self.items))):
            kind = self.kind(place)
            if kind == TIME:
                return place
            if kind not in ("word", "unit", "to", "until", "first", "close", "from", "lasts"):
                return None
        return None

    def named(self, n: int) -> Said | None:
        """start: 3, end: 7; starts at 3 s and ends at 7 s; starts at 3 s and lasts 4 s."""
        if self.kind(n) not in ("start", "end") or (time := self.after(n)) is None:
            return None
        for place in range(time + 1, min(time + 1 + _REACH, len(self.items))):
            kind = self.kind(place)
            if kind in (TIME, self.kind(n)):
                return None
            if (
                kind in ("start", "end", "until", "lasts", "length")
                and (other := self.after(place)) is not None
            ):
                if self.kind(n) == "end":
                    return (
                        self.said(self.items[other], self.items[time], n, other) if kind == "start" else None
                    )
                if kind == "length" or (kind == "lasts" and self.kind(place + 1) != "until"):
                    given = kind == "length" or self.items[other].unit in SECONDS
                    return self.sum(self.items[time], self.items[other], n, other) if given else None
                return self.said(self.items[time], self.items[other], n, other)
        return None

    def lasting(self, n: int) -> Said | None:
        """For 4 s, starting at 3 s."""
        at = n + 2 + (self.kind(n + 2) == "comma")
        if self.kind(n + 1) != TIME or self.kind(at) != "start" or (time := self.after(at)) is None:
            return None
        return self.sum(self.items[time], self.items[n + 1], n, time)

    def sum(self, start: Item, length: Item, first: int, last: int) -> Said | None:
        scales = [1.0 if i.unit in (None, "clock") else SECONDS.get(i.unit) for i in (start, length)]
        if scales[0] is None or scales[1] is None:
            return None
        start = replace(start, value=start.value * scales[0], unit="s")
        return Said(start, replace(start, value=start.value + length.value * scales[1]), first, last)


def whole(found: list[Item]) -> Said | None:
    """The whole video, where a text says so and nothing narrower: "throughout", "the entire clip"."""
    for n, item in enumerate(found):
        near = {other.kind for other in found[max(0, n - 2) : n + 3]} & {"video", "length"}
        if item.kind == "throughout" or (item.kind == "whole" and near):
            if "not" in [other.kind for other in found[max(0, n - 3) : n]]:
                return None
            return Said(Item(TIME, 0, 0, unit="share"), Item(TIME, 0, 0, value=1.0, unit="share"), n, n)
    return None


_CLAUSE = ("stop", "semi", "comma", "but")


def denied(found: list[Item], said: Said, before: int) -> bool:
    """Is the span said not to be one ("not from 3 to 7 s", "0-3 s: normal")? `before`: the place where the
    span before it ends."""
    near: list[str] = []
    for place in range(said.first - 1, max(before, said.first - 1 - _NEAR), -1):
        if found[place].kind in _CLAUSE:
            break
        if near or found[place].kind not in ("from", "between"):
            near.append(found[place].kind)
    if near[:1] == ["not"] or ("not" in near[:4] and {"anomaly", "happens"} & {*near[:3]}):
        return "unsure" not in near
    if "normal" in near[:2] or ("none" in near and {"anomaly", "happens", "normal"} & {*near}):
        return "not" not in near
    behind = []
    for item in found[said.last + 1 : said.last + 6]:
        if item.kind in (*_CLAUSE, TIME, "from", "between"):
            break
        behind.append(item.kind)
    if "normal" in behind:
        return "not" not in behind
    return "none" in behind and bool({"anomaly", "happens"} & {*behind[behind.index("none") :]})


def quiet(found: list[Item]) -> bool:
    """Does a text without spans say that there is none: "no anomaly", "the event does not occur"?"""
    kinds = [item.kind for item in found if item.kind not in ("open", "close", "to")]
    words = {*kinds} - {"stop", "comma", "semi"}
    if words and words <= {"none", "normal", "anomaly", "happens", "video"} and words & {"none", "normal"}:
        return True
    clause: list[str] = []
    for kind in [*kinds, "stop"]:
        if kind not in ("stop", "semi", "but"):
            clause.append(kind)
            continue
        if "unsure" not in clause and _denies(clause):
            return True
        clause = []
    return len(kinds) <= 12 and "normal" in kinds and not {"not", "none", "anomaly", "unsure"} & {*kinds}


def _denies(clause: list[str]) -> bool:
    for n, kind in enumerate(clause):
        near = clause[n + 1 : n + 5]
        if kind == "none" and ("anomaly" in near or "anomaly" in clause[max(0, n - 2) : n]):
            return True
        if kind == "none" and near[:1] == ["happens"]:
            return True
        if kind == "not" and ("happens" in near[:3] or "anomaly" in near[:2]) and "anomaly" in clause:
            return True
    return False
