"""A row's cells as facts about its video, and the rows of one video as one clip.

Rows that contradict each other are refused, all of them: neither is the truth. So is the whole video where a
refused row says more of its truth than the others: spans that are lost would make anomalous seconds normal.
"""

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tvad.answer import NONE
from tvad.data.questions import ASKED, DIALOGUE, LETTERS
from tvad.data.sample import Question, Sample, Video
from tvad.data.table import cells
from tvad.data.table.columns import Column, Fields
from tvad.data.table.rows import Row
from tvad.data.table.times import RawSpan, Time, pair_of, spans_of, time_of

T = TypeVar("T")
CARRIED = ("description", "rationale", "key_object", "split")
YES_NO = ("Yes", "No")
_MARKS = " .!?,;:\"'*`()[]“”‘’«»„。！？，"


def _bare(text: str) -> str:
    """Text to compare, without the marks around it: "Yes." is yes."""
    return cells.folded(cells.folded(text).strip(_MARKS))


JUDGED = {_bare(text) for text in (ASKED["judgement"], DIALOGUE["judgement"])}


@dataclass(frozen=True)
class Box:
    """A box as the table writes it: four numbers, what the column says of them, when, and of which object."""

    numbers: tuple[float, ...]
    column: Column
    time: Time
    what: str | None = None


@dataclass
class Facts:
    """What one row says. `label`: anomalous, None where unknown; `spans`: NONE where the table says that
    there is none; `judged`: the label is a question's answer; `refused`: why its question cannot be asked."""

    where: str
    label: bool | None = None
    categories: list[str] = field(default_factory=list)
    spans: list[RawSpan] | str | None = None
    box: Box | None = None
    question: Question | None = None
    turn: tuple[str, str] | None = None
    judged: bool = False
    words: dict[str, str] = field(default_factory=dict)
    refused: str | None = None

    def truth(self) -> set:
        """What it says of the video, to be compared with other rows."""
        spans = self.spans if isinstance(self.spans, list) else [self.spans]
        return {("label", self.label), *self.categories, *spans, self.box} - {("label", None), None}


class RowReader:
    """Reads rows by the columns of `fields`. `comma`: decimals may have one; `abnormal`: a class other than
    Normal is an anomaly (the column's name or a class "Normal" says so); `alone`: classes that are some
    cell's only one."""

    def __init__(self, fields: Fields, comma: bool, abnormal: bool, alone: Set[str] = frozenset()):
        self.fields, self.comma, self.abnormal, self.alone = fields, comma, abnormal, alone

    def _one(self, row: Row, name: str) -> tuple[Any, Column] | None:
        columns = self.fields.get(name)
        return (row.cells.get(columns[0].name), columns[0]) if columns else None

    def text(self, row: Row, name: str, words: frozenset[str] = cells.MISSING) -> str | None:
        found = self._one(row, name)
        return found and named(found[1], lambda: cells.text_of(found[0], words))

    def facts(self, row: Row) -> Facts:
        """Raises ValueError where what the row says of its video cannot be read."""
        found = Facts(row.where)
        self._truth(row, found)
        try:
            found.words = {name: text for name in CARRIED if (text := self.text(row, name)) is not None}
            self._question(row, found)
        except ValueError as error:
            found.refused = str(error)
        return found

    def _truth(self, row: Row, found: Facts) -> None:
        if label := self._one(row, "label"):
            found.label = named(label[1], lambda: cells.verdict(label[0], label[1].inverted))
        if category := self._one(row, "category"):
            classes = named(category[1], lambda: cells.classes(category[0], self.alone))
            found.categories = classes or []
            normal = "Normal" in found.categories
            if normal and len(found.categories) > 1:
                raise ValueError(f"{category[1].name!r} is {cells.short(category[0])}; expected Normal alone")
            stated = False if normal else True if found.categories and self.abnormal else None
            if None not in (stated, found.label) and stated != found.label:
                raise ValueError(
                    f"{category[1].name!r} is {cells.short(category[0])}, but the label says"
                    f" {'anomalous' if found.label else 'normal'}; expected one of the two"
                )
            found.label = stated if found.label is None else found.label
        found.spans = self._spans(row, found.label)
        if found.label is False and found.spans not in (None, NONE):
            raise ValueError("is labelled normal, but has a span; expected none of the two")
        if found.label is True and found.spans == NONE:
            raise ValueError("is labelled anomalous, but its span says that there is none")
        if box := self._one(row, "box"):
            found.box = self._box(row, *box, found.categories)
            if found.box and found.label is False:
                raise ValueError("is labelled normal, but has a box; expected none of the two")
        if found.label is None and isinstance(found.spans, list):
            found.label = True
        elif found.label is None and found.spans == NONE:
            # Of a video with a class that is not known to be an anomaly, "none" decides nothing.
            found.label = None if found.categories else False
            found.spans = None if found.categories else NONE

    def _spans(self, row: Row, label: bool | None) -> list[RawSpan] | str | None:
        pairs: list[RawSpan] = []
        if spans := self._one(row, "spans"):
            read = named(spans[1], lambda: spans_of(spans[0], spans[1], self.comma))
            if read is None or read == NONE:
                return read
            pairs = list(read)
        if "duration" in self.fields:
            one, other = self.fields["start"][0], self.fields["duration"][0]
            start, length = row.cells.get(one.name), row.cells.get(other.name)
            if pair := pair_of(start, length, one, other, self.comma):
                if pair[0].unit != pair[1].unit:
                    raise ValueError(f"{one.name!r} and {other.name!r} have different units")
                pairs.append((pair[0], Time(pair[0].value + pair[1].value, pair[0].unit)))
        else:
            for one, other in zip(self.fields.get("start", ()), self.fields.get("end", ()), strict=True):
                start, end = row.cells.get(one.name), row.cells.get(other.name)
                if pair := pair_of(start, end, one, other, self.comma):
                    pairs.append(pair)
        if label is False:  # 0 to 0 is how some write that a normal video has none
            pairs = [(a, b) for a, b in pairs if a.value or b.value]
        for a, b in pairs:
            frames = a.unit == b.unit == "frame"
            if a.unit == b.unit and not (a.value < b.value or (frames and a.value == b.value)):
                raise ValueError(
                    f"span {a.value:g} to {b.value:g}: expected a start before the end"
                    + ("; of a normal video leave both empty" if not a.value and not b.value else "")
                )
        return pairs or None

    def _box(self, row: Row, value: Any, column: Column, classes: list[str]) -> Box | None:
        numbers = named(column, lambda: cells.numbers_of(value, 4))
        if numbers is None:
            return None
        at = self._one(row, "box_time")
        time = at and named(at[1], lambda: time_of(at[0], at[1], self.comma))
        if not time:
            raise ValueError(f"{column.name!r} is {cells.short(value)}, but it is not said at which time")
        what = self.text(row, "key_object") or (classes[0] if len(classes) == 1 else None)
        return Box(tuple(numbers), column, time, what)

    def _question(self, row: Row, found: Facts) -> None:
        """A question with options is mcq; without, one that is answered by yes or no is mcq too, but for
        "Is there an anomaly?", which every video is asked; any other is a turn of the dialogue."""
        text = self.text(row, "question", cells.EMPTY)
        columns = self.fields.get("options", ())
        several = [row.cells.get(column.name) for column in columns]
        options = named(columns[0], lambda: cells.options_of(several)) if columns else None
        answer = self._one(row, "answer")
        if text is None or answer is None:
            if options:
                raise ValueError("has options, but no question")
            return
        value, column = answer
        given = named(column, lambda: cells.text_of(value, cells.EMPTY))
        if given is None:
            raise ValueError(f"{column.name!r} is empty; expected the answer")
        rationale, topic = found.words.get("rationale"), self.text(row, "topic")
        if options:
            names = [option.name for option in columns] if len(columns) > 1 else []
            right = named(column, lambda: cells.letter_of(value, options, column.first, names))
            found.question = Question("mcq", text, right, tuple(options), topic, rationale)
        elif cells.is_letter(given):
            raise ValueError(f"{column.name!r} is {cells.short(value)}, a letter, but there are no options")
        elif (word := _bare(given)) not in ("yes", "no", "true", "false"):
            found.turn = (text, given)
        elif _bare(text) in JUDGED:
            yes = cells.verdict(word)
            if found.label not in (None, yes):
                raise ValueError(f"{column.name!r} is {cells.short(value)}, but the label says otherwise")
            found.label, found.judged = yes, True
        else:
            found.question = Question(
                "mcq", text, "A" if cells.verdict(word) else "B", YES_NO, topic, rationale
            )
        if found.question:
            alone = Sample("row", "table", "test", Video("x"), questions=(found.question,))
            if problems := alone.problems():
                raise ValueError(problems[0].removeprefix("question 0").lstrip(": "))


def named(column: Column, read: Callable[[], T]) -> T:
    """What `read` gives; its ValueError gets the column's name before it."""
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{column.name!r:.60} {error}") from None


@dataclass
class Clip:
    """One video and what all of its rows say together. `spans` with a class each, None where it has none;
    NONE where it is known that there is none. `apart`: fields that differ between its rows and cannot be
    joined; `judged`: its label is the answer to a question."""

    file: str
    rows: list[str]
    label: bool | None
    categories: tuple[str, ...]
    spans: list[tuple[RawSpan, str | None]] | str | None
    questions: list[Question]
    dialogue: list[tuple[str, str]]
    boxes: list[Box]
    words: dict[str, str]
    apart: list[str]
    judged: bool = False


def clip_of(file: str, rows: list[Facts]) -> Clip:
    """The rows of one video, those whose question is refused left out, as one. Raises ValueError where they
    contradict each other, and where a row that is refused says more than the others."""
    labels = {facts.label: facts.where for facts in reversed(rows) if facts.label is not None}
    if len(labels) > 1:
        raise ValueError(
            f"label is anomalous in {place(labels[True])}, normal in {place(labels[False])}; expected one a"
            " video"
        )
    label = next(iter(labels), None)
    none = [facts for facts in rows if facts.spans == NONE]
    some = [facts for facts in rows if isinstance(facts.spans, list)]
    if some and (none or label is False):
        other = none[0].where if none else labels[False]
        raise ValueError(
            f"{place(some[0].where)} has a span, but in {place(other)} there is none; expected one a video"
        )
    categories = tuple(dict.fromkeys(name for facts in rows for name in facts.categories))
    if "Normal" in categories and (len(categories) > 1 or label is True):
        raise ValueError(f"has the classes {', '.join(categories)[:100]}; expected Normal alone")
    if label is False and (boxed := [facts for facts in rows if facts.box]):
        raise ValueError(
            f"{place(boxed[0].where)} has a box, but {place(labels[False])} says normal; expected one of the"
            " two"
        )
    splits: dict[str, str] = {}
    for facts in rows:
        if "split" in facts.words:
            splits.setdefault(cells.folded(facts.words["split"]), facts.where)
    if len(splits) > 1:
        (a, one), (b, other) = list(splits.items())[:2]
        raise ValueError(
            f"split is {a[:40]!r} in {place(one)}, {b[:40]!r} in {place(other)}; expected one a video"
        )
    _refuse_two_answers(rows)
    kept = [facts for facts in rows if facts.refused is None]
    said: set = set().union(*(facts.truth() for facts in kept))
    if lost := [facts for facts in rows if facts.refused is not None and facts.truth() - said]:
        raise ValueError(
            f"{place(lost[0].where)}, which is refused, says more of the video's truth than the others"
        )
    pairs = [
        (span, facts.categories[0] if len(facts.categories) == 1 else None)
        for facts in kept
        if isinstance(facts.spans, list)
        for span in facts.spans
    ]
    words: dict[str, str] = {}
    apart = []
    for name in CARRIED:
        texts = list(dict.fromkeys(facts.words[name] for facts in kept if name in facts.words))
        if name == "description" and texts:
            words[name] = "\n".join(texts)  # of events in the order of their rows
        elif len(texts) == 1 or (texts and name == "split"):  # splits are the same but for case
            words[name] = texts[0]
        elif texts and name != "rationale":  # a question has its own
            apart.append(name)
    return Clip(
        file,
        [facts.where for facts in kept],
        label,
        categories,
        list(dict.fromkeys(pairs)) or (NONE if none or label is False else None),
        list(dict.fromkeys(facts.question for facts in kept if facts.question)),
        list(dict.fromkeys(facts.turn for facts in kept if facts.turn)),
        list(dict.fromkeys(facts.box for facts in kept if facts.box)),
        words,
        apart,
        any(facts.judged for facts in kept),
    )


def _refuse_two_answers(rows: list[Facts]) -> None:
    """Refuse the rows that ask the same with the same options, in whatever order, and answer otherwise."""
    asked: dict[tuple[str, frozenset[str]], dict[str, list[Facts]]] = {}
    for facts in rows:
        if facts.refused is None and (question := facts.question) and question.options:
            options = [cells.folded(option) for option in question.options]
            answers = asked.setdefault((cells.folded(question.text), frozenset(options)), {})
            answers.setdefault(options[LETTERS.index(question.answer)], []).append(facts)
    for answers in asked.values():
        for answer, some in answers.items() if len(answers) > 1 else ():
            other = next(more[0] for given, more in answers.items() if given != answer)
            for facts in some:
                facts.refused = (
                    f"asks the same as {place(other.where)} with the same options, but is answered otherwise;"
                    " expected one answer"
                )


def place(where: str) -> str:
    """A row without the file's name, which stands before it anyway."""
    return next(
        (where[where.index(word) :] for word in (" row ", " line ", " entry ") if word in where), where
    ).strip()
