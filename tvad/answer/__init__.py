"""What an answer says: written and read here and nowhere else."""

from tvad.answer.boxes import Box, read_boxes
from tvad.answer.classes import read_classes, table_of
from tvad.answer.elements import split
from tvad.answer.letters import LETTERS, letter, read_letter
from tvad.answer.protocol import MAX_TEXT, TAGS, Answer, parse, render, written_boxes, written_spans
from tvad.answer.reading import Reading
from tvad.answer.reasoning import ends_open
from tvad.answer.spans import NONE, Span, Spans, first_span, read_span, read_spans, spans_in_text
from tvad.answer.statements import Read
from tvad.answer.timing import Timing
from tvad.answer.verdict import judged, read_verdict

__all__ = [
    "LETTERS",
    "MAX_TEXT",
    "NONE",
    "TAGS",
    "Answer",
    "Box",
    "Read",
    "Reading",
    "Span",
    "Spans",
    "Timing",
    "ends_open",
    "first_span",
    "judged",
    "letter",
    "parse",
    "read_boxes",
    "read_classes",
    "read_letter",
    "read_span",
    "read_spans",
    "read_verdict",
    "render",
    "spans_in_text",
    "split",
    "table_of",
    "written_boxes",
    "written_spans",
]
