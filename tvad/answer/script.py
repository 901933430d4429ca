"""Characters of other scripts that say what ASCII says: full-width letters, digits, brackets, commas,
dashes; and which scripts are written without spaces."""

import re
import unicodedata

FULL_WIDTH = {0xFF10 + i: ord("0") + i for i in range(10)} | {
    0xFF0C: ",",
    0xFF0E: ".",
    0xFF1A: ":",
    0xFF3B: "[",
    0xFF3D: "]",
    0xFF0D: "-",
    0x2212: "-",
    0x2013: "-",
    0xFF05: "%",
    0x3001: ",",
}
_LIKE: dict[int, str] = {
    **{0xFF01 + n: chr(0x21 + n) for n in range(94)},  # full-width ASCII
    **{0x24B6 + n: chr(ord("A") + n) for n in range(26)},  # letters in circles
    **{0x1D400 + n: chr(ord("A") + n) for n in range(26)},  # bold capitals
    **dict.fromkeys(map(ord, "‘’‛ʼ＇"), "'"),
    **dict.fromkeys(map(ord, "“”„«»「」『』"), '"'),
    **dict.fromkeys(map(ord, "【〔〖"), "["),
    **dict.fromkeys(map(ord, "】〕〗"), "]"),
    **dict.fromkeys(map(ord, "‐‑‒–—―−"), "-"),
    **dict(zip(map(ord, "。、،؛؟।　\u00a0"), ".,,;?.  ", strict=True)),
}
# Han, kana, Thai, Lao, Khmer, Burmese: words are not set apart. (Korean and Vietnamese set them apart.)
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def plain(text: str) -> str:
    """The text with what looks like ASCII made ASCII, character by character: the length stays."""
    return text if text.isascii() else text.translate(_LIKE)


def folded(text: str) -> str:
    """For comparison: compatibility forms, case, accents' composition and white space aside."""
    return " ".join(unicodedata.normalize("NFKC", plain(text)).casefold().split())


def tokens(text: str) -> list[str]:
    """Words at white space; every character of an unspaced script is one."""
    return text.split() if text.isascii() else _TOKEN.findall(text)
