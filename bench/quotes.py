"""Whether the words that a judge quotes from an answer state what it says that they state (`bench.read`).

The rules are on the safe side: what they cannot see in the words stays unread, so that a judge that knows
what is right earns nothing by quoting a piece of an answer that does not say it. docs/benchmark.md lists
them.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.suite import Item
from tvad.answer import LETTERS, NONE, Timing, read_classes, read_letter, read_spans, read_verdict, words
from tvad.answer.classes import is_normal, small_words
from tvad.answer.languages import UNDECIDED
from tvad.answer.letters import options_in
from tvad.answer.numbers import read_number
from tvad.answer.script import UNSPACED, folded, plain
from tvad.answer.spans import read_text, seconds_of
from tvad.answer.statements import MOST, Mention, Rank, asked, clause_before, rank_of, stated_before
from tvad.answer.time_words import KINDS, NUMBERS, TENS
from tvad.answer.times import TIME, items
from tvad.answer.times import Item as Time
from tvad.answer.verdict import NO, YES, claims_in

NOT_IN_QUOTE = "says what the quoted words do not state"
OPEN = "the answer leaves open what it says"
MOST_PLACES = 100  # of a quote in an answer

_EDGE = rf"[^\W{UNSPACED}]"
_BEFORE = stated_before("")
_STOP = re.compile(r"[.;!?\n]")
_UNDECIDED = re.compile(UNDECIDED, re.IGNORECASE)
# Something is looked for or asked about, and so not said to be there.
_SOUGHT = re.compile(
    r"(?<!\w)(?:look|check|search|watch|scan|inspect|examin|test|ask)\w{0,4}(?: \w{1,12}){0,3}"
    r" (?:for|about|whether|if)(?!\w)",
    re.IGNORECASE,
)
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_COUNTED = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_SHORT = ("1st", "2nd", "3rd", *(f"{n}th" for n in range(4, 11)))
_POSITIONS = {said: n for row in (_ORDINALS, _COUNTED, _SHORT) for n, said in enumerate(row)} | {
    str(n + 1): n for n in range(10)
}
_THING = r"(?:option|choice|answer|alternative|possibility|statement|description|entry|item)"
_THINGS = r"(?:list|options|choices|answers|alternatives|possibilities|statements|descriptions|entries)"
_ORDINAL = "|".join((*_ORDINALS, *_SHORT))
_PLACED = re.compile(
    rf"(?<![\w-])(?:(?P<nth>{_ORDINAL}|last)\s(?:{_THING}|(?:one\s)?(?:of|in|on|from)\s"
    rf"(?:the|this|that|your|these|those)\s(?:\w{{1,12}}\s)?{_THINGS})"
    rf"|{_THING}\s(?:number\s|no\.\s?|#\s?)?(?P<count>{'|'.join(_COUNTED)}|10|[1-9]))(?![\w-]|[.,:]\d)",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    rf"(?<!\w)(?:to|but|before|after|above|below|behind|than|follow\w{{0,5}}|preced\w{{0,5}}|{_ORDINAL})"
    r"(?:\sthe)?\s$",
    re.IGNORECASE,
)
# Beside the words of `tvad.answer.languages`, which rules read already.
_MEANT = re.compile(
    r"(?<!\w)(?:(?P<odd>strange(?:ly)?|odd(?:ly)?|weird(?:ly)?|alarming|dangerous(?:ly)?|disturbing|unsafe"
    r"|extraordinary)"
    r"|(?P<notable>wrong|amiss|out of place|special|remarkable|noteworthy|of note|worrying|concerning"
    r"|to report)"
    r"|(?P<plain>peaceful(?:ly)?|uneventful(?:ly)?|unremarkable|business as usual"
    r"|as (?:it|they|one|you) (?:should|would expect)"
    r"|(?:nothing|not an?(?: single)? thing|no (?:event|incident))(?: \w{1,12}){0,3}? (?:happen(?:s|ed)?"
    r"|occur(?:s|red)?|goes on|went on|is going on|takes place|took place|stands out|stood out))"
    r"|(?P<yes>(?:in the )?affirmative)|(?P<no>in the negative))(?!\w)",
    re.IGNORECASE,
)
_NOTHING = re.compile(r"(?<!\w)(?:nothing|anything)(?!\w)", re.IGNORECASE)
_UNTIL = re.compile(r"(?<!\w)(?:until|till|before|but|except|besides|apart|other than)(?!\w)", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_NEXT = re.compile(r"[ \t]*([^\W\d_]+)")
_JOINTS = frozenset(("comma", "and", "semi", "from", "between", "to", "until", "or"))
_NUMBER_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)?")
# Words that many options have and that say little of what happens.
_SMALL = """the and with from into onto that this there are was were has have been being for his her their its
one who which while then than not"""
_EMPTY = frozenset(_SMALL.split())


@dataclass(frozen=True)
class Quoted:
    """An answer as a judge was shown it, and where in it the quoted words stand."""

    text: str
    quote: str
    places: tuple[tuple[int, int], ...]

    def holds(self, start: int, end: int) -> bool:
        """Does a quoted place hold what stands from `start` to `end`?"""
        return any(start >= first and end <= last for first, last in self.places)

    @property
    def sentences(self) -> list[str]:
        """Those in which the quote stands."""
        stops = [0, *(stop.end() for stop in _STOP.finditer(self.text)), len(self.text)]
        found = []
        for first, last in self.places:
            begin = max(stop for stop in stops if stop <= first)
            found.append(self.text[begin : min(stop for stop in stops if stop >= last)])
        return found


def found_in(shown: str, quote: str) -> Quoted:
    """The quote in the answer, whatever its case, white space and composition of accents. Raises ValueError
    where it does not stand there as whole words."""
    text, quote = (plain(unicodedata.normalize("NFC", each)) for each in (shown, quote))
    said = quote.split()
    pattern = r"\s+".join(map(re.escape, said))
    left = rf"(?<!{_EDGE})" if re.match(_EDGE, said[0]) else ""
    right = rf"(?!{_EDGE})" if re.match(_EDGE, said[-1][-1]) else ""
    places = []
    for match in re.finditer(f"{left}{pattern}{right}", text, re.IGNORECASE):
        places.append(match.span())
        if len(places) == MOST_PLACES:
            break
    if not places:
        raise ValueError("quotes what is not in the answer")
    return Quoted(text, quote, tuple(places))


def check_option(item: Item, said: str, quoted: Quoted) -> None:
    """Raises ValueError where the quote does not name the option that the judge says, by its letter, its
    text, its place in the list or more than half of the words that no other option has; and where the answer
    names another one too, or refuses."""
    options = item.question.options or ()
    if not (keys := read_letter(said, options).keys):
        return  # no option is said, which the reader of answers refuses
    key, text = keys[0], quoted.text
    _refuse_refusals(text)
    groups = options_in(text, options, _placed(text, len(options)))
    groups = [group for group in groups if group.rank is not Rank.DENIED]
    if {name for group in groups for name in group.keys} - {key}:
        raise ValueError(OPEN)
    if groups:
        if not any(quoted.holds(g.start, g.end) and _meant(text, g.start, g.end) for g in groups):
            raise ValueError(NOT_IN_QUOTE)
        return
    _check_words(quoted, dict(zip(LETTERS, ([option] for option in options), strict=False)), {key})


def check_verdict(said: str, quoted: Quoted) -> None:
    """Raises ValueError where no word of the quote has the meaning of the yes or no that the judge says, or
    where the answer has words of both, or leaves it open."""
    if keys := read_verdict(said).keys:
        _check_meaning(keys[0], quoted)


def check_classes(item: Item, said: str, quoted: Quoted) -> None:
    """Raises ValueError where the quote does not hold more than half of the words of each class that the
    judge says, for the normal one words of that meaning; and where the answer holds those of further
    classes."""
    names = {name: [name, *others] for name, others in item.reading.classes.items()}
    keys = set(read_classes(said, item.reading.classes).keys)
    _refuse_refusals(quoted.text)
    normal = {key for key in keys if is_normal(key)}
    if normal:
        _check_meaning(NO, quoted)
    if wanted := keys - normal:
        _check_words(quoted, {key: [small_words(n) for n in names[key]] for key in names}, wanted)


def check_number(said: str, quoted: Quoted) -> None:
    """Raises ValueError where the quote, or the answer, states another number than the judge says, another
    unit, or several."""
    wanted = read_number(said).keys
    if any(read_number(_in_digits(text)).keys != wanted for text in (quoted.quote, quoted.text)):
        raise ValueError(NOT_IN_QUOTE)


def check_times(item: Item, said: str, quoted: Quoted) -> None:
    """Raises ValueError where a time that the judge says is none of the quote's, in the unit that it has
    there; where it says "none" and the quote does not, or the answer holds times."""
    timing = item.sample.video.timing
    stated = _clocked(items(quoted.text), timing)
    if read_spans(said, timing)[0] == NONE:
        if stated:
            raise ValueError(OPEN)
        _check_meaning(NO, quoted)
        return
    bare = _bare_seconds(quoted, timing)
    held = []
    for time, seconds in stated:
        denied = words.BEFORE_DENIES.search(clause_before(quoted.text, time.start))
        if denied or not quoted.holds(time.start, time.end):
            continue
        if time.unit is None and (time.value not in bare or _counts(quoted.text, time.end)):
            seconds = None
        held.append((time, seconds))
    for time, wanted in _clocked(items(said), timing):
        if not any(time.value == other.value or wanted == seconds for other, seconds in held):
            raise ValueError("numbers that are not in the quote")
        if wanted is None or not any(s is not None and abs(s - wanted) < 1e-6 for _, s in held):
            raise ValueError("times without the units that they have in the answer")


def _clocked(found: list[Time], timing: Timing) -> list[tuple[Time, float | None]]:
    """The times, each with the unit that is said for it, and their seconds; None where they are not known."""
    times = [n for n, item in enumerate(found) if item.kind == TIME]
    units = {n: found[n].unit for n in times}
    for way, leading in ((1, True), (-1, False)):
        row = times[::way]
        for last, n in pairwise(row):
            between = {item.kind for item in found[min(last, n) + 1 : max(last, n)]}
            leads = found[last].before if leading else units[last] != "clock"
            if units[n] is None and leads and between <= _JOINTS:
                units[n] = units[last]
                found[n].before = leading
    done = []
    for n in times:
        found[n].unit = units[n]
        done.append((found[n], None if found[n].doubtful else seconds_of(found[n], timing)))
    return done


def _bare_seconds(quoted: Quoted, timing: Timing) -> set[float]:
    """Numbers without a unit that the reader of times takes for seconds in the quote."""
    spans = [read(quoted.quote, timing)[0] for read in (read_spans, read_text)]
    return {time for found in spans if isinstance(found, tuple) for span in found for time in span}


def _counts(text: str, end: int) -> bool:
    """Does a word follow that the number may count ("4 cars")?"""
    following = _NEXT.match(text, end)
    return following is not None and KINDS.get(following[1].lower()) is None


def _refuse_refusals(text: str) -> None:
    if words.REFUSES.search(text):
        raise ValueError(OPEN)


def _meant(text: str, start: int, end: int) -> bool:
    """Is it said there, and neither asked nor looked for?"""
    begin = max((stop.end() for stop in _STOP.finditer(text, 0, start)), default=0)
    return not asked(text, end) and not _SOUGHT.search(text, begin, start)


def _placed(text: str, count: int) -> list[Mention]:
    """Where options are named by their place in the list."""
    found = []
    for match in deque(_PLACED.finditer(text), maxlen=MOST):
        said = (match["nth"] or match["count"]).lower()
        place = count - 1 if said == "last" else _POSITIONS[said]
        if place < count and not _BESIDE.search(text[max(0, match.start() - 40) : match.start()]):
            found.append(Mention(match.start(), match.end(), frozenset(LETTERS[place])))
    return found


def _check_meaning(key: str, quoted: Quoted) -> None:
    text = quoted.text
    _refuse_refusals(text)
    read = read_verdict(text)
    if read.reason == "several" or any(map(_UNDECIDED.search, quoted.sentences)):
        raise ValueError(OPEN)
    found = [(group.start, group.end, group.keys[0]) for group in claims_in(text)]
    found = [each for each in [*found, *_meanings(text)] if _meant(text, *each[:2])]
    if {said for *_, said in found} - {key}:
        raise ValueError(OPEN)
    if not any(quoted.holds(start, end) for start, end, _ in found):
        raise ValueError(NOT_IN_QUOTE)


def _meanings(text: str) -> list[tuple[int, int, str]]:
    """Further words that say yes or no, which the rules of answers do not take for one."""
    found = []
    for match in deque(_MEANT.finditer(text), maxlen=MOST):
        start, end = match.span()
        rank, kind = rank_of(text, start, end, _BEFORE, ticked=False), match.lastgroup
        key = YES if kind in ("odd", "yes") else NO if kind in ("plain", "no") else None
        if rank is Rank.DENIED:
            nothing = _NOTHING.search(clause_before(text, start))
            key = NO if kind in ("odd", "notable") and nothing else None
        stop = _STOP.search(text, end)
        if key == NO and _UNTIL.search(text, end, stop.start() if stop else len(text)):
            continue  # "nothing happens until …"
        if key is not None and rank is not Rank.PERHAPS:
            found.append((start, end, key))
    return found


def _stem(word: str) -> str:
    stem = re.sub(r"(?<=\w{3})(?:ing|ery|er|ed|es|s|e|y)$", "", word)
    return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in _WORD.findall(folded(text)) if len(word) > 2 and word not in _EMPTY}


def _check_words(quoted: Quoted, names: Mapping[str, Sequence[str]], wanted: set[str]) -> None:
    """Of names' own words, which no other has, the quote must hold more than half, those that are not denied,
    for the wanted ones; the answer of no others."""
    every = {key: [_stems(name) for name in some] for key, some in names.items()}
    own: dict[str, list[set[str]]] = {}
    for key, some in every.items():
        others = {stem for other, rows in every.items() if other != key for row in rows for stem in row}
        own[key] = [row - others for row in some]
    known = {stem for rows in own.values() for row in rows for stem in row}
    said = [(match, _stem(folded(match.group()))) for match in _WORD.finditer(quoted.text)]
    held = [(match, stem) for match, stem in said if stem in known][-MOST:]
    text = quoted.text
    held = [
        (match, stem)
        for match, stem in held
        if rank_of(text, *match.span(), _BEFORE, ticked=False) is not Rank.DENIED
        and _meant(text, *match.span())
    ]

    def reached(stems: set[str]) -> set[str]:
        return {key for key, rows in own.items() if any(2 * len(row & stems) > len(row) for row in rows)}

    if reached({stem for _, stem in held}) - wanted:
        raise ValueError(OPEN)
    if reached({stem for match, stem in held if quoted.holds(*match.span())}) != wanted:
        raise ValueError(NOT_IN_QUOTE)


def _in_digits(text: str) -> str:
    """With digits for numbers in words, but for "one", which is more than a number."""

    def digits(match: re.Match[str]) -> str:
        tens, _, ones = match.group().lower().partition("-")
        if ones:
            known = tens in TENS and ones in NUMBERS
            return str(TENS[tens] + NUMBERS[ones]) if known else match.group()
        value = TENS.get(tens, NUMBERS.get(tens)) if tens != "one" and len(tens) > 2 else None
        return match.group() if value is None else str(value)

    return _NUMBER_WORD.sub(digits, text)
