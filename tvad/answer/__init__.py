"""What an answer says: written and read here and nowhere else."""

from tvad.answer.boxes import Box, read_boxes
from tvad.answer.letters import LETTERS, letter
from tvad.answer.protocol import MAX_TEXT, TAGS, Answer, parse, render
from tvad.answer.spans import NONE, Span, Spans, first_span, read_span, read_spans, spans_in_text
from tvad.answer.timing import Timing
from tvad.answer.verdict import judged

__all__ = [
    "LETTERS",
    "MAX_TEXT",
    "NONE",
    "TAGS",
    "Answer",
    "Box",
    "Span",
    "Spans",
    "Timing",
    "first_span",
    "judged",
    "letter",
    "parse",
    "read_boxes",
    "read_span",
    "read_spans",
    "render",
    "spans_in_text",
]
