"""Which part of a text is reasoning, which is the answer: the elements of the protocol, in one pass."""

from tvad.answer.reading import DEFAULT, Reading
from tvad.answer.reasoning import FOREIGN, LOOSE, Mark, marks_in

Element = tuple[str, str, bool]  # name, content, closed


def elements(
    text: str, reading: Reading = DEFAULT, strict: bool = False, opened: bool = False
) -> tuple[list[Element], str, list[str]]:
    """Top-level elements as (name, content, closed), the text outside of them, and defects. One pass.
    strict: of reasoning only the protocol's marks and the suite's count; opened: the prompt has opened it.

    Nothing inside reasoning counts as another element. Unclosed reasoning ends where an answer element
    begins; reasoning that is closed but never opened starts at the text's beginning.
    """
    marks = marks_in(text, reading.marks, strict, opened or reading.opened)
    found: list[Element] = []
    outside: list[str] = []
    defects = ["other_think"] if any(mark.family.startswith(FOREIGN) for mark in marks) else []
    if any(mark.name and LOOSE.fullmatch(text, mark.start, mark.end) for mark in marks):
        defects.append("loose_tag")
    position, i = 0, 0
    if (last := _unopened(marks)) is not None:
        found.append(("think", text[: marks[last].start], True))
        defects.append("unopened_think")
        position, i = marks[last].end, last + 1
    partners = _partners(marks)
    while i < len(marks):
        mark = marks[i]
        outside.append(text[position : mark.start])
        position = mark.end
        if not mark.opening:
            if mark.name:
                defects.append(f"stray_close_{mark.name}")
            i += 1
            continue
        j = partners[i]
        if j is None:
            defects.append(f"unclosed_{mark.name}")
            # It ends where another element begins, so that an unclosed rationale does not swallow the answer.
            stop = i + 1
            while stop < len(marks) and not (marks[stop].opening and marks[stop].name != mark.name):
                stop += 1
            end = marks[stop].start if stop < len(marks) else len(text)
            found.append((mark.name, text[position:end], False))
            position, i = end, stop
            continue
        if any(inner.name not in ("", mark.name) or inner.opening for inner in marks[i + 1 : j]):
            defects.append(f"nested_{mark.name}")
        found.append((mark.name, text[position : marks[j].start], True))
        position, i = marks[j].end, j + 1
    outside.append(text[position:])
    return found, "".join(outside), defects


def split(text: str, reading: Reading = DEFAULT, opened: bool = False) -> tuple[str | None, str]:
    """(reasoning, the rest) of a text, white space at their ends aside; None where there is no reasoning."""
    marks = [
        mark
        for mark in marks_in(text, reading.marks, opened=opened or reading.opened)
        if mark.name in ("think", "")
    ]
    told, rest, position, i = [], [], 0, 0
    if (last := _unopened(marks)) is not None:
        told.append(text[: marks[last].start])
        position, i = marks[last].end, last + 1
    partners = _partners(marks)
    while i < len(marks):
        rest.append(text[position : marks[i].start])
        position = marks[i].end
        if marks[i].opening:
            j = partners[i]
            end = len(text) if j is None else marks[j].start
            told.append(text[position:end])
            position = end if j is None else marks[j].end
            i = len(marks) if j is None else j
        i += 1
    rest.append(text[position:])
    reasoning = "\n".join(part.strip() for part in told if part.strip())
    return reasoning or None, "".join(rest).strip()


def _unopened(marks: list[Mark]) -> int | None:
    """Place of the mark that closes reasoning which nothing opened: the last one before anything opens."""
    last = None
    for place, mark in enumerate(marks):
        if mark.opening:
            break
        if mark.name == "think":
            last = place
    return last


def _partners(marks: list[Mark]) -> list[int | None]:
    """For every opening mark the place of the one that closes it. Reasoning inside reasoning is counted, so
    that its inner end does not pass for the outer one's; where the count does not come out, and for the other
    elements, the next closing mark of the name. One pass: looking for each partner anew would be quadratic in
    a text of nothing but opening marks."""
    partners: list[int | None] = [None] * len(marks)
    coming: dict[str, int] = {}
    for place in range(len(marks) - 1, -1, -1):
        mark = marks[place]
        if mark.opening:
            partners[place] = coming.get(mark.name)
        else:
            coming[mark.name] = place
    waiting: list[int] = []
    for place, mark in enumerate(marks):
        if mark.name == "think" and mark.opening:
            waiting.append(place)
        elif mark.name == "think" and waiting:
            partners[waiting.pop()] = place
    return partners
