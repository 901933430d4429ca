"""What a text says of the things that it names: which it gives as its answer, which it denies, which it only
weighs. The one rule for letters, classes and yes or no, whose readers bring the names; the words are those of
`tvad.answer.words`."""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from tvad.answer import words
from tvad.answer.words import either

NEAR = 100  # characters that decide how something is meant, on either side
SHORT = 400  # characters up to which what was read is kept: the same short answers come again and again
MOST_BETWEEN = 40  # characters between two members of a list
MOST = 400  # mentions that are weighed, the last ones of a longer text: what counts is said at the end


class Mention(NamedTuple):
    """Something named at `start` to `end`. Of several `keys` a letter contradicts the text beside it."""

    start: int
    end: int
    keys: frozenset[str]


class Rank(IntEnum):
    """How it is named: denied, perhaps, in passing, given (alone in its line or at the end), stated ("the
    answer is …"), stated as a conclusion."""

    DENIED = 0
    PERHAPS = 1
    NAMED = 2
    GIVEN = 3
    STATED = 4
    FINAL = 5


@dataclass(frozen=True, slots=True)
class Group:
    """Mentions that are said in one breath ("A, B and C"). `open`: alternatives ("A or B")."""

    start: int
    end: int
    keys: tuple[str, ...]
    open: bool
    rank: Rank


class Read(NamedTuple):
    """What was read: keys, in their order in the text; or why nothing was."""

    keys: tuple[str, ...]
    reason: str | None = None


NOUN = either(
    r"answers?|ans|solution|conclusion|verdict|choice|option|prediction|output|judge?ment",
    r"(?:correct|right|best|most \w{1,15}) one|respuesta|opción|réponse|antwort|lösung|resposta|opção",
    r"alternativa|risposta|opzione|ответ|вариант|الإجابة|الجواب|उत्तर|जवाब|đáp án|câu trả lời|cevap",
    r"yanıt|jawaban(?:nya)?|antwoord|odpowiedź|svar|答案|正解|答え|回答|选项|選項|選択肢|정답|답|대답|คำตอบ",
)
_LINK = either(
    r"is|are|['’]s|should be|would be|must be|will be|has to be|remains|=|:|-{1,2}|–|—|→|->|=>",
    r"es|est|ist|lautet|é|è|adalah|là|هي|هو|是|为|為|は|が|은|는|이|가|है",
)
_FILLERS = either(
    r"definitely|clearly|certainly|most likely|likely|probably|therefore|thus|hence|then|indeed|actually|now",
    r"options?|letter|choice|answer|class|category|type|the|an?|la|le|el|il|o|a|die|der|das",
    r"letra|lettre|lettera|buchstabe|opción|opção|opzione|选项|選項|选|一种",
)
_FILLER = rf"(?:{_FILLERS})"
_OPENERS = r"[\s\"'*_`(\[{<:$~#>]{0,8}"
CHOOSE = either(
    r"choose|chose|pick|select|selected|go(?:ing)? with|went with|opt for|vote for|settled? on",
    r"changed? (?:it |my answer )?to|classify (?:this|it) as|选择?|選|選択|应选|應選",
    r"choisis|elijo|escojo|escolho|wähle|scelgo|kies|wybieram|väljer|vælger|velger|seç(?:erim|iyorum)?",
    r"(?:me)?(?:pilih|milih)|chọn|выбираю|обираю|επιλέγω|אני בוחר|أختار|(?:entscheide|optiere) (?:mich )?für",
    r"opte pour|opto (?:por|per)|me quedo con|fico com|kies voor|ga voor",
)
_AFTER_STATED = re.compile(
    r"[\s\"'*_)\].:]{0,4}(?:"
    + either(
        r"(?:is|was|seems|looks|appears|must be|would be|has to be)(?: to be)? (?:\w{1,12}ly |also )?"
        r"(?:the |my |an? )?(?:most |only |best |final )?(?:correct|right|true|best|better|answer|one|match"
        r"|accurate|appropriate|likely|fitting|what happens|what we see)(?!\w)",
        r"it is(?!\w)|remains(?! un)|is left|fits best|matches best",
        r"(?:が|は)?(?:正しい|正解)|(?:是)?(?:对的|正确|正確|對的)|(?:이|가)? ?(?:맞|정답)",
    )
    + ")",
    re.IGNORECASE,
)
_IT_IS = re.compile(
    r"(?:^|\W)(?:it|this|that|which|what we see|what happens)(?:['’]s| is| must be| was| leaves)"
    rf"(?: {_FILLER}){{0,4}}{_OPENERS}$",
    re.IGNORECASE,
)
_LABEL = r"(?:options?\s{1,2})?[\s*\"'(\[]{0,4}$"
_LINE_START = re.compile(
    rf"(?:^|\n)[\s>*_#\"'`(\[{{<$|•✅👉-]{{0,8}}(?:\d{{1,2}}[.)]\s{{1,2}})?{_LABEL}", re.IGNORECASE
)
_LINE_GOES_ON = re.compile(r"[\s\"'*_`)\]}>$]{0,6}(?:$|[.,:;!?\n|–—-]|because\b|since\b|as\b)", re.IGNORECASE)
_LINE_ENDS = re.compile(r"[\s\"'*_`)\]}>$.!]{0,6}(?:$|\n)")
_REMARK = re.compile(r"[\"'*_`)\]}>]{0,6}[.:–—-][*_]{0,2}[^\S\n]{1,3}\w")
_ALSO = re.compile(
    r"[\s\"'*_)\]]{0,4}(?:"
    + either(
        r"(?:is|are|was|would be) (?:also|equally|just as|likewise) (?:correct|right|true|valid)",
        r"(?:is|are|was|would be) (?:correct|right|true|valid),? (?:too|also|as well)",
        r"也(?:是)?(?:对|對|正确|正確)|も(?:正しい|正解)|도 (?:맞|정답)",
    )
    + ")",
    re.IGNORECASE,
)
_LAST = re.compile(r"[\s\"'*_`)\]}>$.!」|]{0,12}$")
_STOP = re.compile(r"[.!?\n]")
_LIST_ENDS = re.compile(
    r"[\s\"'*_`)\]}>$]{0,6}(?:\([^()\n]{1,60}\)[*_]{0,3})?[^\S\n]{0,3}"
    r"(?:[.!]?[^\S\n]{0,3}(?:$|\n)|[,;)|])"
)
_AFTER_A_STOP = re.compile(
    r"(?:^|[.:;!?\n→—–]|->|=>|(?<!\w)(?:so|thus|hence|therefore|then))"
    rf"[\s\"'*_`(\[{{]{{0,8}}{_LABEL}",
    re.IGNORECASE,
)


def stated_before(nouns: str) -> re.Pattern[str]:
    """The pattern of what stands before something stated as the answer; `nouns` beside "answer" and its
    like."""
    said = either(NOUN, nouns) if nouns else NOUN
    return re.compile(
        rf"(?<![A-Za-z])(?:(?:{said})(?:\s{{1,2}}[\w'’]{{1,15}}){{0,3}}?[\s*_\"']{{0,4}}(?:{_LINK})"
        rf"|(?:{CHOOSE})|(?:answer|ans|答案|정답))(?:[\s*]{{0,3}}{_FILLER}(?!\w)){{0,4}}{_OPENERS}$",
        re.IGNORECASE,
    )


def read(text: str, mentions: Sequence[Mention], before: re.Pattern[str], several: bool = False) -> Read:
    """What `text` gives as its answer among its mentions, in order. before: `stated_before`. several: an
    answer may hold more than one key."""
    return decided(corrected(text, weighed(text, mentions, before)), several)


def decided(groups: Sequence[Group], several: bool = False) -> Read:
    """The keys of the highest rank. Several where one is wanted, or alternatives, are none."""
    if not groups:
        return Read((), "nothing_named")
    top = max(group.rank for group in groups)
    if top is Rank.DENIED:
        return Read((), "denied")
    chosen = [group for group in groups if group.rank is top]
    keys = tuple(dict.fromkeys(key for group in chosen for key in group.keys))
    either = any(group.open and len(group.keys) > 1 for group in chosen)
    if len(keys) > 1 and (not several or top is Rank.PERHAPS or either):
        return Read((), "several")
    return Read(keys)


def weighed(
    text: str, mentions: Sequence[Mention], before: re.Pattern[str], ticked: bool = True
) -> list[Group]:
    """The mentions in groups with their ranks, in order. ticked: a yes or no behind one is about it."""
    groups: list[Group] = []
    for members, left_open in _grouped(text, mentions[-MOST:]):
        start, end = members[0].start, members[-1].end
        rank = rank_of(text, start, end, before, ticked)
        keys = dict.fromkeys(key for member in members for key in sorted(member.keys))
        rank = min(rank, Rank.PERHAPS) if asked(text, end) else rank
        if rank > Rank.DENIED and _ALSO.match(text, end):
            # What is right as well is no more so than what it is added to.
            rank = max(rank, Rank.STATED)
            if best := max(groups, key=lambda group: group.rank, default=None):
                place = groups.index(best)
                groups[place] = replace(
                    best, rank=max(best.rank, rank if best.rank > Rank.DENIED else best.rank)
                )
        groups.append(Group(start, end, tuple(keys), left_open, rank))
    if any(_alone(text, group) for group in groups):
        groups = [_label(text, group) for group in groups]
    return groups


def _alone(text: str, group: Group) -> bool:
    """Is it given in a line of its own?"""
    left = ("\0" if group.start > NEAR else "") + text[max(0, group.start - NEAR) : group.start]
    starts = group.rank is Rank.GIVEN and _LINE_START.search(left)
    return bool(starts) and _LINE_ENDS.match(text, group.end) is not None


def _label(text: str, group: Group) -> Group:
    """Beside an answer in a line of its own, a remark ("A: no bicycle") gives no other."""
    remarked = group.rank is Rank.GIVEN and _REMARK.match(text, group.end)
    return replace(group, rank=Rank.NAMED) if remarked else group


def rank_of(text: str, start: int, end: int, before: re.Pattern[str], ticked: bool = True) -> Rank:
    """How what stands from `start` to `end` is named."""
    # A beginning that is cut off is no beginning: patterns that ask for one must not match there.
    left, right = ("\0" if start > NEAR else "") + text[max(0, start - NEAR) : start], text[end : end + NEAR]
    clause = clause_before(text, start)
    if words.ON_CONDITION.search(left):
        return Rank.DENIED
    if words.BEFORE_YES.search(left) or (ticked and words.AFTER_YES.match(right)):
        return Rank.STATED
    if words.BEFORE_OPEN.search(clause) or words.AFTER_OPEN.match(right):
        return Rank.PERHAPS
    if (
        words.BEFORE_DENIES.search(words.TWICE.sub(" ", clause))
        or words.BEFORE_NO.search(left)
        or (words.AFTER_DENIES.match(right) and not words.AFTER_TWICE.match(right))
        or (ticked and words.AFTER_NO.match(right))
    ):
        return Rank.DENIED
    if _AFTER_STATED.match(right):
        return Rank.STATED
    if words.BEFORE_PERHAPS.search(clause) or words.AFTER_PERHAPS.match(right):
        return Rank.PERHAPS
    if cue := before.search(left):
        concluded = words.CONCLUDES.search(left[: cue.end()].rstrip(" \"'*_`([{<:$"))
        return Rank.FINAL if concluded else Rank.STATED
    if _LINE_START.search(left) and _LINE_GOES_ON.match(right):
        return Rank.GIVEN
    if _IT_IS.search(left) or (_LAST.match(right) and len(right) < NEAR and _AFTER_A_STOP.search(left)):
        return Rank.GIVEN
    return Rank.NAMED


def clause_before(text: str, start: int) -> str:
    """What stands before `start` in its clause."""
    left = text[max(0, start - NEAR) : start]
    last = 0
    for boundary in words.CLAUSE.finditer(left):
        last = boundary.end()
    return left[last:]


def asked(text: str, end: int) -> bool:
    """Does the sentence that goes on at `end` end with a question mark?"""
    stop = _STOP.search(text, end, end + NEAR)
    return stop is not None and stop.group() == "?"


def _grouped(text: str, mentions: Sequence[Mention]) -> Iterable[tuple[list[Mention], bool]]:
    """Mentions that are said in one breath, and whether as alternatives."""
    runs: list[tuple[list[Mention], bool]] = []
    for mention in mentions:
        if runs:
            held, left_open = runs[-1]
            between = text[held[-1].end : mention.start][: MOST_BETWEEN + 1]
            alternative = len(between) <= MOST_BETWEEN and words.OPEN.fullmatch(between) is not None
            if alternative or (_softly(text, mention, between) and _joined(text, held, mention, between)):
                held.append(mention)
                runs[-1] = held, left_open or alternative
                continue
        runs.append(([mention], False))
    found = runs[-1:]
    listed = bool(runs) and _list_ends(text, runs[-1][0][-1].end)
    for held, left_open in reversed(runs[:-1]):
        behind, also_open = found[-1]
        between = text[held[-1].end : behind[0].start][: MOST_BETWEEN + 1]
        if listed and _joined(text, held, behind[0], between):
            found[-1] = [*held, *behind], left_open or also_open
        else:
            found.append((held, left_open))
            listed = _list_ends(text, held[-1].end)
    return reversed(found)


def _joined(text: str, held: list[Mention], mention: Mention, between: str) -> bool:
    """Does a mention go on with a list?"""
    if len(between) > MOST_BETWEEN or not words.JOINED.fullmatch(between):
        return False
    ticked = words.BEFORE_NO.search(between) or words.BEFORE_YES.search(between)
    over = ";" in between and words.BEFORE_DENIES.search(clause_before(text, held[0].start))
    named = mention.keys <= held[-1].keys | held[0].keys  # no list names one thing twice
    return not (ticked or over or named)


def _softly(text: str, mention: Mention, between: str) -> bool:
    """Is it joined within a line by a comma or a word ("A, B and C are wrong")? Not with a verdict of its own
    ("B, A is wrong"). Lines, brackets and dashes join only lists: what words follow is discussed there."""
    link = words.JOINED.fullmatch(between)
    if link is None:
        return False
    joint = (link["joint"] or "").strip()
    if joint == ",":
        one = words.OF_ONE.match(text, mention.end)
        return not (one and words.AFTER_DENIES.match(text, mention.end))
    return between == "-" or (joint not in ("", ";", "|", "-", "–") and "\n" not in between)


def _list_ends(text: str, end: int) -> bool:
    """Does a list end here, with nothing said of its last member?"""
    denied = words.AFTER_NO.match(text, end) or words.AFTER_DENIES.match(text, end)
    return _LIST_ENDS.match(text, end) is not None and denied is None


def corrected(text: str, groups: list[Group]) -> list[Group]:
    """The groups behind the last correction that gives something in place of what stood before."""
    if not groups:
        return groups
    cues = deque(words.CORRECTS.finditer(text, groups[0].end, groups[-1].start), maxlen=MOST)
    for match in reversed(cues):
        after = [group for group in groups if group.start >= match.end()]
        if any(g.rank >= Rank.GIVEN or (g.rank > Rank.DENIED and g.start - match.end() <= 40) for g in after):
            return after
    return groups
