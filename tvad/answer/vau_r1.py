"""Answers as VAU-R1's scripts (arXiv 2505.23504) read them: figures comparable with the paper's."""

import re

from tvad.answer.spans import Span

_CLOCK = re.compile(r"(?:(\d{1,2}):)?(\d{1,2}):(\d{1,2})(?:\.(\d{1,6}))?")


def _seconds(part: str) -> float | None:
    """M:S or H:M:S with minutes and seconds below 60, as datetime.strptime reads them; None where the
    reference raises."""
    part = ".".join(part.split(".")[:2]) if part.count(".") > 1 else part
    match = _CLOCK.fullmatch(part)
    if match is None:
        return None
    hours, minutes, seconds, fraction = match.groups()
    if int(minutes) >= 60 or int(seconds) >= 62 or int(hours or 0) >= 24:
        return None
    return (
        int(hours or 0) * 3600
        + int(minutes) * 60
        + int(seconds)
        + (float(f"0.{fraction}") if fraction else 0.0)
    )


def read(text: str) -> tuple[str | None, str | None, Span | None, list[str]]:
    """(rationale, answer, span, defects): VAU-R1's TemporalEvaluator for the span (0, 0 where nothing is
    read); its reward functions' first answer element.

    Where the reference raises, the span is None with defect `vau_r1_error`.
    """
    # The first <glue>…</glue> within a line, by hand: a lazy regular expression takes quadratic time here.
    defects: list[str] = []
    body = None
    start = text.find("<glue>")
    while start != -1 and body is None:
        line_end = text.find("\n", start)
        end = text.find("</glue>", start + 6, len(text) if line_end == -1 else line_end)
        if end != -1:
            body = text[start + 6 : end]
        start = text.find("<glue>", line_end) if line_end != -1 else -1
    if body is None:
        for line in text.split("\n"):
            opened = line.find("[")
            closed = line.find("]", opened + 1) if opened != -1 else -1
            if closed != -1:
                body = line[opened + 1 : closed]
                break
    span: Span | None = (0.0, 0.0)
    if body is not None:
        parts = re.sub(r"[^0-9:.,\-]", "", body).split(",")
        if len(parts) == 2:
            clock = all(":" in p for p in parts)
            try:
                start_at, end_at = (_seconds(p) if clock else float(p) for p in parts)
            except ValueError:
                start_at = end_at = None
            span = None if start_at is None or end_at is None else (start_at, end_at)
            if span is None:
                defects.append("vau_r1_error")
    opened = text.find("<answer>")
    closed = text.find("</answer>", opened)
    answer = text[opened + 8 : closed] if opened != -1 and closed != -1 else None
    thought, end = text.find("<think>"), text.find("</think>")
    think = text[thought + 7 : end] if -1 < thought < end else None
    return think, answer, span, defects
