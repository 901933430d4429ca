"""Which part of a text is reasoning, which is the answer: the elements of the protocol, in one pass."""

import re

TAG = re.compile(r"<(/?)(think|answer|glue|box)>", re.IGNORECASE)


def elements(text: str) -> tuple[list[tuple[str, str, bool]], str, list[str]]:
    """Top-level elements as (name, content, closed), the text outside of them, and defects. One pass.

    Nothing inside `<think>` counts as another element. An unclosed think ends where an answer element begins;
    a think that is closed but never opened starts at the text's beginning (chat templates that open it for
    the model).
    """
    marks = list(TAG.finditer(text))
    found: list[tuple[str, str, bool]] = []
    outside: list[str] = []
    defects: list[str] = []
    position, i = 0, 0
    names = [(m.group(2).lower(), m.group(1) == "") for m in marks]
    closing_thinks = [j for j, n in enumerate(names) if n == ("think", False)]
    if closing_thinks and ("think", True) not in names[: closing_thinks[0] + 1]:
        end = closing_thinks[0]
        found.append(("think", text[: marks[end].start()], True))
        defects.append("unopened_think")
        position, i = marks[end].end(), end + 1
    # The closing tags of each name that are still to come, the next one last: looking for the partner of
    # every opening tag anew would be quadratic in a text of nothing but opening tags.
    closers: dict[str, list[int]] = {}
    for j in range(len(marks) - 1, -1, -1):
        if not names[j][1]:
            closers.setdefault(names[j][0], []).append(j)
    while i < len(marks):
        name, opening = names[i]
        outside.append(text[position : marks[i].start()])
        position = marks[i].end()
        if not opening:
            defects.append(f"stray_close_{name}")
            i += 1
            continue
        coming = closers.get(name, [])
        while coming and coming[-1] < i:
            coming.pop()
        if not coming:
            defects.append(f"unclosed_{name}")
            # It ends where another element begins, so that an unclosed rationale does not swallow the answer.
            stop = i + 1
            while stop < len(marks) and not (names[stop][1] and names[stop][0] != name):
                stop += 1
            end = marks[stop].start() if stop < len(marks) else len(text)
            found.append((name, text[position:end], False))
            position, i = end, stop
            continue
        j = coming[-1]
        if any(k[0] != name or k[1] for k in names[i + 1 : j]):
            defects.append(f"nested_{name}")
        found.append((name, text[position : marks[j].start()], True))
        position, i = marks[j].end(), j + 1
    outside.append(text[position:])
    return found, "".join(outside), defects
