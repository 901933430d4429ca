"""What an answer is wrapped in: JSON, \\boxed{}, code fences, tags and tokens of families, table rules. The
inside is what is read."""

import json
import re
from typing import Any

DEEPEST = 3  # elements inside elements
# Keys under which a JSON answer stands; of any other object the values are no answer.
KEYS = (
    *("answer", "final_answer", "finalanswer", "answers", "choice", "option", "letter", "prediction"),
    *("response", "result", "label", "labels", "class", "classes", "category", "categories", "verdict"),
    *("judgement", "judgment", "selected_option", "correct_option", "correct_answer", "output"),
    *("anomaly_type", "event", "答案"),
)
# Elements beside the protocol's <answer> whose content is the answer: LLaVA-CoT, Sky-T1, GLM-4.1V, ERNIE.
_ELEMENT = re.compile(
    r"<(conclusion|final_answer|final|ans|solution|response|result)>|<\|begin_of_(solution|box)\|>",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\f?boxed\s{0,3}\{")
_COMMAND = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf|bf|rm|boldsymbol|operatorname|fbox)\s{0,2}|[$]|\\[()\[\]]"
)
_TAG = re.compile(r"</?(?:[a-z][a-z0-9_-]{1,30}|(?-i:[bipus]))\s{0,2}/?>|<\|[a-z_]{1,30}\|>", re.IGNORECASE)
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")  # Markdown's strike-through
_FENCE = re.compile(r"```(?:[a-z]{0,12}\n)?|```", re.IGNORECASE)

_LANGUAGE = re.compile(r"^(?:json|python|javascript|js)(?=\s|[{\[])", re.IGNORECASE)  # of a code fence
_QUOTED = re.compile(r"[\"']")
_SINGLE = re.compile(r"(?<=[{\[,:\s])'([^'\"\\\n]{0,400})'(?=\s{0,9}[,:}\]])")
_BARE_KEY = re.compile(r"(?<=[{,\s])([A-Za-z_]\w{0,30})\s{0,3}:")
_LAST_COMMA = re.compile(r",(?=\s{0,9}[}\]])")
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
_CONSTANT = re.compile(r"(?<=[:\[,\s])(?:True|False|None)(?=\s{0,9}[,}\]])")


def unwrapped(text: str, depth: int = DEEPEST) -> list[str]:
    """The answers that a text holds, each without what wraps it (`depth` times at most); one, in general.
    Linear time."""
    if depth and (inner := _elements(text)):
        return [part for each in inner for part in unwrapped(each, depth - 1)]
    if boxed := _boxed(text):
        return boxed
    if (found := _answers(json_in(text))) is not None:
        return found
    return [_bare(text)]


def _bare(text: str) -> str:
    return _COMMAND.sub("", _TAG.sub(" ", _FENCE.sub(" ", _STRUCK.sub(" ", text)))).strip()


def _elements(text: str) -> list[str]:
    found, lowered, position = [], text.lower(), 0
    while match := _ELEMENT.search(text, position):
        name = match.group(1)
        closing = f"</{name.lower()}>" if name else f"<|end_of_{match.group(2).lower()}|>"
        end = lowered.find(closing, match.end())
        inner = text[match.end() : len(text) if end == -1 else end]
        if inner.strip():
            found.append(inner)
        if end == -1:
            break
        position = end + len(closing)
    return found


def _boxed(text: str) -> list[str]:
    """Contents of \\boxed{…}, braces counted; an unclosed one runs to the end of its line."""
    found, position = [], 0
    while match := _BOXED.search(text, position):
        depth, end = 1, match.end()
        stop = min(len(text), match.end() + 2000)
        while end < stop and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        inner = text[match.end() : end - 1 if depth == 0 else end]
        found.append(_bare(inner).strip("{} "))
        position = end
    return found


def json_in(text: str) -> Any:
    """The JSON that a text is or ends with, or that its last code fence holds; None where there is none."""
    parts = text.split("```")
    candidates = [_LANGUAGE.sub("", part) for part in parts[1::2][-3:]]
    stripped = text.strip()
    if stripped[:1] in ("{", "[") and stripped[-1:] in ("}", "]"):
        candidates.append(stripped)
    elif (
        (start := text.rfind("{")) != -1
        and (end := text.find("}", start)) != -1
        and _QUOTED.search(text, start, end)
    ):
        candidates.append(text[start : end + 1])
    for candidate in reversed(candidates):
        for written in (candidate.strip(), _as_json(candidate.strip())):
            try:
                data = json.loads(written)
            except (ValueError, RecursionError):
                continue
            if isinstance(data, (dict, list)):
                return data
    return None


def _as_json(text: str) -> str:
    """An object as Python or JavaScript write it: single quotes, bare keys, a comma behind the last value."""
    text = _BARE_KEY.sub(r'"\1":', _SINGLE.sub(r'"\1"', text))
    return _LAST_COMMA.sub("", _CONSTANT.sub(lambda match: _CONSTANTS[match.group()], text))


def answer_in(data: dict[str, Any]) -> Any:
    """What an object says under one of the keys of an answer; None where it has none."""
    named = {str(key).lower().replace(" ", "_"): value for key, value in data.items()}
    return next((named[key] for key in KEYS if key in named), None)


def _answers(data: Any) -> list[str] | None:
    if isinstance(data, dict):
        data = answer_in(data)
    if isinstance(data, bool):
        return ["yes" if data else "no"]
    if isinstance(data, str):
        return [data]
    if isinstance(data, list) and data and all(isinstance(value, str) for value in data):
        return list(data)
    return None
