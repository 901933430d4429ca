"""Yes or no: does an answer say that there is an anomaly? By words of some twenty languages: yes and no,
anomaly and normal, and what denies them. An answer that contradicts itself is not read."""

import re
from collections import deque

from tvad.answer import words
from tvad.answer.script import UNSPACED, plain
from tvad.answer.statements import (
    MOST,
    NEAR,
    Group,
    Mention,
    Rank,
    Read,
    asked,
    clause_before,
    corrected,
    decided,
    rank_of,
    stated_before,
    weighed,
)
from tvad.answer.wrapped import json_in, unwrapped

YES, NO = "yes", "no"
# language: (yes, no). Of two words one may be used where the other is not; docs/answers.md lists them.
LANGUAGES = {
    "English": ("yes yeah yep yup y true affirmative positive correct", "no nope n none false negative incorrect"),
    "Chinese": ("是的 是 有的 有 对 對 存在 会 確實", "不是 否 没有 沒有 无 無 不 不存在 並無 并无"),
    "Japanese": ("はい ええ ある あります", "いいえ いえ ない ありません なし"),
    "Korean": ("네 예 있습니다 있음 있다", "아니요 아니오 아뇨 아니 없습니다 없음 없다"),
    "German": ("ja", "nein"),
    "French": ("oui", "non"),
    "Spanish": ("sí si", "no"),
    "Portuguese": ("sim", "não nao"),
    "Italian": ("sì", "no"),
    "Dutch": ("ja", "nee neen"),
    "Swedish, Danish, Norwegian": ("ja", "nej nei"),
    "Polish": ("tak", "nie"),
    "Russian, Ukrainian": ("да так", "нет ні"),
    "Turkish": ("evet var", "hayır yok"),
    "Arabic": ("نعم", "لا كلا"),
    "Persian": ("بله", "خیر نه"),
    "Hindi": ("हाँ हां", "नहीं"),
    "Vietnamese": ("có", "không"),
    "Indonesian, Malay": ("ya", "tidak tiada"),
    "Thai": ("ใช่ มี", "ไม่ใช่ ไม่มี ไม่"),
    "Greek": ("ναι", "όχι"),
    "Hebrew": ("כן", "לא"),
}
# What an anomaly is called. Denied it is none.
_ANOMALY = (
    r"(?:un|ab|ano|irre)(?:usual(?:ly)?|normal(?:ly|it(?:y|ies))?|mal(?:y|ies|ous(?:ly)?)|gular(?:it(?:y|ies))?)|suspicious(?:ly)?|out of the ordinary|misbehav\w{1,4}"
    r"|anomal(?:ie|ien|ies|ía|ías|ia|ias|iyi|i)|anómal[oa]s?|anormal(?:e|es|ement|is|mente)?|inhabitual\w{0,3}|inusual\w{0,3}|auffällig\w{0,8}|ungewöhnlich\w{0,4}"
    r"|аномал\w{1,4}|необычн\w{1,4}|ненормальн\w{1,4}|bất thường|anomalli|anormallik|keanehan|afwijk\w{1,6}|nieprawidłow\w{1,5}"
)
_ANOMALY_ANYWHERE = "异常|異常|反常|可疑|不正常|이상|비정상|غير طبيعي\\w{0,2}|شذوذ|असामान्य|विसंगति|ผิดปกติ"
# What is called normal, where it is said of the video or of all of it.
_NORMAL = r"normal(?:ly)?|ordinary|usual|routine|as expected|harmless|normale|normales|normalny|unauffällig|нормальн\w{1,4}|bình thường"
_NORMAL_ANYWHERE = "正常|普通|정상|طبيعي|सामान्य|ปกติ"
_THINGS = r"(?:video|clip|scene|footage|situation|behaviou?r|activit(?:y|ies)|event|events|condition|conditions|case|day|traffic|sequence|nothing)"


def _alone(found: str, anywhere: str = "") -> str:
    return rf"(?<![^\W_{UNSPACED}])(?:{found})(?![^\W_{UNSPACED}])" + (f"|{anywhere}" if anywhere else "")


def _words(place: int) -> str:
    said = {word for pair in LANGUAGES.values() for word in pair[place].split()}
    return "|".join(re.escape(word) for word in sorted(said, key=len, reverse=True))


_TOKEN = re.compile(rf"(?P<yes>{_alone(_words(0))})|(?P<no>{_alone(_words(1))})", re.IGNORECASE)
_CLAIM = re.compile(
    rf"(?P<odd>{_alone(_ANOMALY, _ANOMALY_ANYWHERE)})|(?P<plain>{_alone(_NORMAL, _NORMAL_ANYWHERE)})", re.IGNORECASE
)
_BEFORE = stated_before(r"anomaly(?: present| detected)?|anomalous|abnormal|result|judgement|label|异常")
# A yes or no is an answer where nothing follows that it belongs to ("no man", "no anomaly").
_ENDS = re.compile(
    r"[\s\"'*_`)\]}]{0,6}(?:$|[.,;:!?\n|/(–—-]|(?:there|it|the|this|he|she|they|i|we|because|since|as|or|and"
    r"|there's|it's)(?!\w))",
    re.IGNORECASE,
)
_STARTS = re.compile(
    r"(?:^|[.,;:!?\n|/–—→>-]|[\"'*_`(\[{]|(?<!\w)(?:answer|is|say|says|think|a|actually|so|or|and|wait|probably|definitely"
    r"|clearly|maybe|therefore|thus|hence)\s)\s{0,3}$",
    re.IGNORECASE,
)
_PREDICATE = re.compile(
    r"(?:(?:(?<!\w)|(?<=['’]))(?:s|is|are|was|were|be|seem|seems|looks?|appears?|remains?|stays?|all|everything|nothing but|behaves?|acts?|goes|proceeds?|a|an|only|just|shows?|mostly|goes|est|ist|es|é|è|sono|sont|están?|как|все|всё)"
    r"(?: to be)?\s(?:\w{1,12}ly\s|very\s|quite\s|all\s|perfectly\s|a\s|not\s){0,2}|^[\s\"'*(]{0,4}|[.:;,!?\n]\s{0,3}[\"'*(]{0,3})$",
    re.IGNORECASE,
)
_OF_THINGS = re.compile(rf"(?:\s(?:\w{{1,12}}\s)?{_THINGS}|的?(?:活动|行为|情况|视频|场景|現象)|です|である|입니다|합니다)?[\s\"'*)]{{0,3}}(?:$|[.,;:!?\n)–—-]|。|(?:and|with|here|throughout|in|at|for|of|without|but|on|so)(?!\w))", re.I)
_DENIED_BEHIND = re.compile(
    r"[\s\"'*_)]{0,3}(?:(?:(?:situation|event|behaviou?r|activity|行为|情况|현상|행동|情況|な(?:行動|点|出来事))\w{0,3}[\s]{0,2})?"
    r"(?:[:=]\s{0,2}[\"'*]{0,2}(?:none|no|false|0|absent|not)(?!\w)|(?:detected|present|found|observed)\s{0,2}[:=?]\s{0,2}[\"'*]{0,2}(?:none|no|false|0)(?!\w)"
    r"|(?:is|are|was|were|can be|could be)?\s?(?:not|never|absent|нет|не)(?!\w)|(?:is|are|was|were|has|have|does|do)n't"
    r"|(?:は|が)?(?:ありません|ない|なし|見られません|見当たりません|認められません|確認されません|検出されません)|(?:가|이|은|는|도)?\s?(?:없|아니|보이지 않|발견되지 않)"
    r"|不(?:存在|明显)|(?:\s\S{1,20}){0,2}\s?(?:नहीं|नही|yok|değil)))",
    re.IGNORECASE,
)
_UNDECIDED = re.compile(
    r"(?<!\w)(?:depends?|(?:cannot|can['’]?t|unable to|impossible to) (?:determine|tell|say|decide|judge|know|confirm|be)|unsure|not (?:sure|certain|clear|possible|enough)|unclear|whether|if|hard to|difficult to|counts? as|what is|would be|could be|might be|may be|at first|initially|first glance)(?!\w)"
    r"|无法|無法|不能确定|不确定|不確定|是否|难以|わかりません|分かりません|判断できません|알 수 없|모르",
    re.IGNORECASE,
)
_KEY = re.compile(r"anomal|abnormal|unusual|suspicious|异常|異常", re.IGNORECASE)


def judged(text: str | None) -> bool | None:
    """True for an anomaly, False for none, None where it is not said, or said and denied."""
    found = read_verdict(text)
    return None if not found.keys else found.keys[0] == YES


def read_verdict(text: str | None) -> Read:
    """As `judged`, "yes" or "no", with the reason where there is none: nothing_said, several, refused,
    nothing_named."""
    if not text or not text.strip():
        return Read((), "nothing_said")
    text = plain(text)
    if isinstance(data := json_in(text), dict):  # {"anomaly": true}
        for key, value in data.items():
            if _KEY.search(str(key)) and isinstance(value, (bool, str)):
                return _read(value if isinstance(value, str) else YES if value else NO)
    found = [_read(part) for part in unwrapped(text)]
    if len(found) == 1:
        return found[0]
    keys = {key for each in found for key in each.keys}
    return Read(tuple(keys)) if len(keys) == 1 and all(each.keys for each in found) else Read((), "several")


def _read(text: str) -> Read:
    bare = re.sub(r"[\W_]+", "", text)
    if bare in ("0", "1"):
        return Read((YES if bare == "1" else NO,))
    claims = _claims(text)
    groups = corrected(text, sorted([*weighed(text, _tokens(text), _BEFORE), *claims], key=lambda g: g.start))
    said = decided([group for group in groups if group not in claims])
    claimed = decided([group for group in groups if group in claims], several=True)
    if said.keys:
        denied = claimed.keys and said.keys[0] not in claimed.keys
        return Read((), "several") if denied else said
    if said.reason == "several" or len(claimed.keys) > 1:
        return Read((), "several")
    if claimed.keys:
        return claimed
    return Read((), "refused") if words.REFUSES.search(text[-2000:]) else Read((), "nothing_named")


def _tokens(text: str) -> list[Mention]:
    """Every yes and no that stands as an answer."""
    found = []
    for match in deque(_TOKEN.finditer(text), maxlen=4 * MOST):
        start, end = match.span()
        left = text[max(0, start - NEAR) : start]
        if text[end : end + 1] == ":" and match.group() in ("是", "有"):
            continue  # the link of "答案是:"
        if _ENDS.match(text, end) and (_STARTS.search(left[-20:]) or _BEFORE.search(left)):
            found.append(Mention(start, end, frozenset((YES if match.lastgroup == "yes" else NO,))))
    return found


def _claims(text: str) -> list[Group]:
    """Where something is called an anomaly or normal, as yes or no: denied, the other way round."""
    found = []
    for match in deque(_CLAIM.finditer(text), maxlen=MOST):
        start, end = match.span()
        left, right = text[max(0, start - NEAR) : start], text[end : end + NEAR]
        clause = clause_before(text, start)
        rest = right[: stop.start()] if (stop := words.CLAUSE.search(right)) else right
        if asked(text, end) or _UNDECIDED.search(clause) or _UNDECIDED.search(rest):
            continue
        spaced = match.group().isascii()
        if match.lastgroup == "plain" and not (
            _OF_THINGS.match(right) and (not spaced or _PREDICATE.search(left))
        ):
            continue
        rank = rank_of(text, start, end, _BEFORE)
        denied = rank is Rank.DENIED or _DENIED_BEHIND.match(right) is not None
        key = YES if (match.lastgroup == "odd") != denied else NO
        found.append(Group(start, end, (key,), False, Rank.STATED if rank >= Rank.STATED else Rank.NAMED))
    return found
