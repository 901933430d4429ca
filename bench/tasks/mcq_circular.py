"""Multiple choice under every rotation of the options: accuracy of each, and of questions that are right
under all of them.

A model that prefers a letter is right under one rotation and wrong under the next (MMBench's CircularEval,
arXiv 2307.06281).
"""

from dataclasses import replace

from bench.tasks.mcq import read as read
from bench.tasks.mcq import score as score
from tvad.data.questions import LETTERS
from tvad.data.sample import Question

PRIMARY, LOWER, BINARY = "accuracy", ("parse_failure",), ("accuracy",)


def rotations(question: Question) -> list[Question]:
    """The question with its options rotated by 0, 1, ...; the right letter moves along."""
    options = question.options or ()
    right = LETTERS.index(question.answer)
    return [
        replace(question, options=options[k:] + options[:k], answer=LETTERS[(right - k) % len(options)])
        for k in range(len(options))
    ]
