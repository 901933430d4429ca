"""The labelled corpus of written answers (tests/cases/answers): its rows, what this project reads, and if a
reading agrees with the label. The corpus's README says what each kind's label means."""

import json
import re
from pathlib import Path

from tvad.answer import NONE, Timing, judged, letter, parse
from tvad.answer.classes import read_classes
from tvad.answer.reading import Reading

CASES = Path(__file__).resolve().parent / "cases/answers"
KINDS = ("letter", "yes_no", "class", "span", "box", "reasoning")
MARKS = re.compile(r"<\|(?:begin|end)_of_(?:box|solution)\|>|</?answer>")


def read(path: Path) -> list[dict]:
    """Rows with `pad` written out, in the text and in a label of reasoning."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        if pad := row.pop("pad", None):
            long = pad["text"] * pad["times"]
            row["text"] = row["text"].replace("{pad}", long)
            if row["kind"] == "reasoning":
                row["label"] = {
                    key: said and said.replace("{pad}", long) for key, said in row["label"].items()
                }
    return rows


def ours(row: dict) -> object:
    """What this project reads, in the label's form, told what the row tells of the video and the family."""
    text = row["text"]
    match row["kind"]:
        case "letter":
            return letter(parse(text).answer, row["options"])
        case "yes_no":
            return judged(parse(text).answer)
        case "class":
            return list(read_classes(parse(text).answer, row["classes"]).keys) or None
        case "span":
            spans = parse(text, timing=Timing(**row["video"])).spans
            return [] if spans == NONE else spans
        case "box":
            reading = Reading(boxes=row["box_unit"], picture=row["size"])
            return [box.xyxy for box in parse(text, reading=reading).boxes] or None
    answer = parse(text, opened=row.get("prompt_opens_think", False))
    return {"reasoning": answer.think, "rest": answer.answer}


def only_letter(said: str) -> str | None:
    """A public reader's mark as a label: one option's letter; None for "", RANDOM, WRONG, Z, several."""
    return said if len(said) == 1 and "A" <= said <= "J" else None


def agrees(row: dict, found: object) -> bool:
    """Spans within a frame or 0.05 s, boxes within 2 of 1000, classes in any order, reasoning but for white
    space and the marks of an answer."""
    label = row["label"]
    match row["kind"]:
        case "class":
            return (label is None) == (found is None) and set(found or ()) == set(label or ())
        case "span":
            return _near(found, label, max(0.05, 1 / row["video"]["fps"]))
        case "box":
            return _near(found, label, 2.0)
        case "reasoning":
            return found is not None and all(_words(found[key]) == _words(label[key]) for key in label)
    return found == label


def _near(found: object, label: list | None, tolerance: float) -> bool:
    if label is None or found is None:
        return label is found
    return len(found) == len(label) and all(
        abs(a - b) <= tolerance
        for one, other in zip(found, label, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def _words(text: str | None) -> str:
    return " ".join(MARKS.sub(" ", text or "").split())
