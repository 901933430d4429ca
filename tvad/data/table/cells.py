"""What a cell says: text, a label, classes, options, the right one. Raises ValueError with the value and what
was expected; nothing is ever evaluated. Times stand in `times`."""

import ast
import itertools
import json
import math
import re
import unicodedata
from collections.abc import Sequence, Set
from typing import Any

from tvad.answer.classes import is_normal, small_words
from tvad.data.questions import LETTERS

MOST_TEXT = 20_000  # characters of a cell
# What people and programs write where there is nothing. Of questions and options only an empty cell is: "-1"
# and "none" are answers.
EMPTY = frozenset(("", "nan", "<na>", "null", "#n/a"))
MISSING = EMPTY | {"-1", "-1.0", "nat", "nil", "none", "n/a", "na", "-", "--", "?", "unknown", "undefined"}
_TRUE = (
    "yes y true t 1 1.0 anomaly anomalous abnormal positive pos ja oui si sim da wahr vrai verdadero vero"
    " 是 有 异常 異常 예 이상 はい"
)
_FALSE = (
    "no n false f 0 0.0 normal negative neg nonanomalous nonanomaly notanomalous noanomaly notabnormal"
    " nonabnormal nein non nao nie falsch faux falso 否 无 無 正常 아니요 정상 いいえ"
)
VERDICTS = {word: True for word in _TRUE.split()} | {word: False for word in _FALSE.split()}
# Words that mean themselves, also where yes means normal.
PLAIN = re.compile(r"anomal|abnormal|normal|异常|異常|正常|이상|정상")
# What may be a normal video or a mark, but is no class's name.
_NO_CLASS = re.compile(
    r"(?:no|non|not|without|kein|keine|ohne|nichts|sans|aucun|aucune)\b.*|.*\bnormal\b.*"
    r"|non?(?:violen|fight|anomal|abnormal|crim|accident|event|theft|fire|fall)\w*|background|benign|safe|regular"
    r"|ok|okay|routine|usual|typical|present|absent|on|off|x|high|low|set|unset|checked|unchecked|[✓✔✗✘☑☐]"
)
_CODE = re.compile(r"[\[({]|\w{1,20}\(\s*[\[({'\"]")
_TOGETHER = re.compile(r"[,/+&]|\sand\s")
_STRINGS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\S", re.DOTALL)
_FORMULA = re.compile(r"=\S")
_ERROR = re.compile(r"#(?:REF|VALUE|NAME|DIV/0|NUM|NULL|SPILL|CALC)[!?]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_BARE = re.compile(
    r"(?:(?:option|choice|answer)\s{0,3}[:#]?\s{0,3})?[(\[]?([a-j])[.):\]]{0,2}", re.IGNORECASE
)
_PREFIX = re.compile(r"\s*[(\[]?([A-Ja-j])[.):\]]\s*(?=\S)")


def short(value: Any) -> str:
    """A cell for a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text)} characters)"


def folded(text: str) -> str:
    """Text to compare: case, accents' form and white space aside."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_missing(value: Any, words: frozenset[str] = MISSING) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value) in words
    if isinstance(value, (list, tuple, dict)):
        return False
    return len(str(value)) < 40 and str(value).strip().strip("\ufeff").lower() in words


def text_of(value: Any, words: frozenset[str] = MISSING) -> str | None:
    """The cell's text, None where it is missing. Raises ValueError for what is no text, and for a formula or
    a spreadsheet's error, which is never looked into."""
    if is_missing(value, words):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"is {short(value)}; expected text")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # whole numbers beside missing ones become floats in many programs
    text = str(value).strip()
    if len(text) > MOST_TEXT:
        raise ValueError(f"has {len(text)} characters; expected at most {MOST_TEXT}")
    if _FORMULA.match(text) or _ERROR.match(text):
        raise ValueError(f"is {short(text)}; expected a value, not a formula or its error")
    if _CONTROL.search(text):
        raise ValueError(f"is {short(text)}; expected no control characters, no half of a surrogate pair")
    return text


def list_of(value: Any, words: frozenset[str] = MISSING, separators: str = "|;") -> list[str] | None:
    """The texts of a JSON list (or the like of other languages), or of a text parted by the first of the
    separators that it holds; None where the cell is missing."""
    if isinstance(value, str) and len(value) <= MOST_TEXT and value.strip()[:1] in ("[", "(", "{"):
        value = _literal(value)
    if isinstance(value, (list, tuple)):
        return _whole([text_of(entry, words) for entry in value])
    if isinstance(value, dict):
        keys = [str(key).strip().upper() for key in value]
        if keys != list(LETTERS[: len(keys)]) and keys != [str(n) for n in range(len(keys))]:
            raise ValueError(f"is {short(value)}; expected keys A, B, … in order")
        return list_of(list(value.values()), words)
    text = text_of(value, words)
    if text is None:
        return None
    separator = next((sign for sign in separators if sign in text), None)
    parts = text.split(separator) if separator else [text]
    return _whole([part.strip() or None for part in parts])


def _whole(texts: list[str | None]) -> list[str]:
    """The texts, without what is missing at their end. Raises ValueError for a gap: letters would move."""
    while texts and texts[-1] is None:
        texts.pop()
    if None in texts:
        raise ValueError(
            f"has nothing at place {texts.index(None) + 1}, but something after it; expected no gap"
        )
    return [text for text in texts if text is not None]


def _literal(text: str) -> Any:
    """A list or mapping written as JSON, as Python or as numpy writes it, else the text. Raises ValueError
    for strings side by side among others: Python would make one of two."""
    signs = _STRINGS.findall(text.strip())
    strings = [len(sign) > 1 for sign in signs]
    if any(a and b for a, b in itertools.pairwise(strings)):
        if signs[0] != "[" or signs[-1] != "]" or not all(strings[1:-1]):
            raise ValueError(f"is {short(text)}; expected a comma between two texts of a list")
        return [ast.literal_eval(sign) for sign in signs[1:-1]]
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            continue
        return found if isinstance(found, (list, tuple, dict)) else text
    return text


def verdict(value: Any, inverted: bool = False) -> bool | None:
    """Whether a label says anomalous; None where it says that it is not known. `inverted`: yes means normal;
    the words anomalous and normal mean themselves. Raises ValueError."""
    if isinstance(value, bool):
        return value != inverted
    text = text_of(value)
    if text is None:
        return None
    word = re.sub(r"[\s_.\-]+", "", folded(text)) if not re.fullmatch(r"\d\.0", text) else text
    word = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    word = unicodedata.normalize("NFC", word)
    if word not in VERDICTS:
        raise ValueError(f"is {short(value)}; expected yes or no, anomalous or normal, 1 or 0")
    return VERDICTS[word] != (inverted and not PLAIN.search(word))


def is_verdict(value: Any) -> bool:
    """Whether the cell is missing or says yes or no."""
    try:
        verdict(value)
    except ValueError:
        return False
    return True


def names_of(value: Any) -> list[str]:
    """The names in a cell of classes, of a list as of a text; none where it cannot be read."""
    try:
        return list_of(value) or []
    except ValueError:
        return []


def classes(value: Any, alone: Set[str] = frozenset()) -> list[str] | None:
    """Names of classes; "Normal" in whatever spelling is "Normal". A text with a comma is several where each
    is one `alone` elsewhere. Raises ValueError for yes, no, numbers and marks, which name none, for what may
    be normal or not, and for Normal beside another."""
    found = list_of(value)
    if found and len(found) == 1 and not is_normal(found[0]):
        parts = [part.strip() for part in _TOGETHER.split(found[0])]
        if len(parts) > 1 and any(map(is_normal, parts)):
            raise ValueError(f"is {short(value)}; expected Normal alone")
        if len(parts) > 1 and all(part in alone for part in parts):
            found = parts
    for name in found or ():
        if is_normal(name):
            continue
        if is_verdict(name) or re.fullmatch(r"\d+(\.\d+)?", name) or _CODE.match(name):
            raise ValueError(f"is {short(value)}; expected names of classes")
        if _NO_CLASS.fullmatch(small_words(name)):
            raise ValueError(f"is {short(value)}; expected Normal of a normal video; a class by another name")
    return found and ["Normal" if is_normal(name) else name for name in found]


def is_letter(text: str) -> bool:
    """Whether an answer is an option's letter and nothing else."""
    return bool(_BARE.fullmatch(unicodedata.normalize("NFKC", text[:40])))


def numbers_of(value: Any, count: int) -> list[float] | None:
    """So many numbers of a list or a text; None where the cell is missing."""
    if is_missing(value):
        return None
    found = (
        value if isinstance(value, (list, tuple)) else re.split(r"[\s,;]+", str(value)[:200].strip("[]() "))
    )
    try:
        numbers = [float(entry) for entry in found]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) and abs(number) < 1e9 for number in numbers):
        raise ValueError(f"is {short(value)}; expected {count} numbers")
    return numbers


def options_of(values: Sequence[Any]) -> list[str] | None:
    """Options: of several cells one each, of one cell a list. The letters that some write before them are
    taken off. None where there are none. Raises ValueError for fewer than two and for a gap."""
    if len(values) == 1:
        value = values[0]
        lines = isinstance(value, str) and "\n" in value.strip() and "|" not in value
        found = list_of(value, EMPTY, "\n" if lines else "|;") or []
    else:
        found = _whole([text_of(value, EMPTY) for value in values])
    if not found:
        return None
    if not 2 <= len(found) <= len(LETTERS):
        raise ValueError(f"are {len(found)}: {short(found)}; expected 2 to {len(LETTERS)}")
    marks = [_PREFIX.match(option) for option in found]
    if all(m and m[1].upper() == LETTERS[n] for n, m in enumerate(marks)):
        found = [_PREFIX.sub("", option, count=1) for option in found]
    return found


def letter_of(value: Any, options: Sequence[str], first: int | None, names: Sequence[str] = ()) -> str:
    """Letter of the right option: from a letter, a letter with the option's text, the text itself, the name
    of the option's column, or, where it is said which number is the `first`, its number. Raises ValueError
    for none and for two."""
    text = text_of(value, EMPTY)
    if text is None:
        raise ValueError("is empty; expected the right option")
    letters = LETTERS[: len(options)]
    if first is not None:
        number = int(float(text)) if re.fullmatch(r"\d{1,4}(\.0)?", text) else -1
        if not first <= number < first + len(options):
            raise ValueError(
                f"is {short(value)}; expected a number from {first} to {first + len(options) - 1}"
            )
        return letters[number - first]
    plain = [folded(option).rstrip(".") for option in options]
    hits = [letters[n] for n, option in enumerate(plain) if option == folded(text).rstrip(".")]
    bare = _BARE.fullmatch(unicodedata.normalize("NFKC", text))
    if bare and bare[1].upper() in letters:
        letter = bare[1].upper()
        if hits and letter not in hits:
            raise ValueError(
                f"is {short(value)}, a letter and the text of option {hits[0]}; expected one of them"
            )
        return letter
    if not hits and (mark := _PREFIX.match(text)) and mark[1].upper() in letters:
        place = letters.index(mark[1].upper())
        if folded(text[mark.end() :]).rstrip(".") == plain[place]:
            return letters[place]
        raise ValueError(f"is {short(value)}, but option {letters[place]} is {short(options[place])}")
    if not hits and names and not text.isdigit():
        hits = [letters[n] for n, name in enumerate(names[: len(options)]) if folded(name) == folded(text)]
    if len(hits) == 1:
        return hits[0]
    if re.fullmatch(r"\d{1,4}(\.0)?", text) and not hits:
        raise ValueError(
            f"is {short(value)}, a number, and --columns does not say whether the first option is 0 or 1;"
            " expected a letter or an option's text"
        )
    what = "two options" if hits else "no option"
    raise ValueError(
        f"is {short(value)}, which names {what}; expected {letters[0]} to {letters[-1]} or its text"
    )
