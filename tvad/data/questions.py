"""How a question is worded, and the letters of its options: the one place, for data sets, prompts and
answers.

A data set that brings its own words (VAU-Bench's) keeps them; what stands here is what this project asks
where it words a question itself.
"""

from collections.abc import Sequence

from tvad.answer import LETTERS

# Kind of question (`tvad.answer.TAGS`) -> its words.
ASKED = {
    "mcq": "What happens in this video?",
    "judgement": "Is there an anomaly in this video?",
    "classification": "Which class of anomaly appears?",
    "temporal": "When does the anomaly happen?",
    "spatial": "Where is the anomaly at {seconds:.1f} s?",
}
# The same of VAU-Bench, whose files leave these two to whoever asks.
VAU_BENCH = {
    "temporal": "Is there an anomaly in this video? If so, when?",
    "classification": "Which type of anomaly appears in this video?",
}
# T-VAU's dialogue, in the order in which it is asked: topic -> question. Answered in plain words, without
# tags. The paper's protocol, which data sets hold (`Sample.dialogue`) ...
DIALOGUE = {
    "judgement": "Is there an anomaly?",
    "target": "What is the target?",
    "motion": "How does it move?",
    "trajectory": "What is its trajectory?",
    "cause": "When and why?",
}
# ... the turns of the authors' talk on the workshop version, and the framework figure's one answer with a
# turn about the surroundings (`tvad.data.dialogue`; the words are ours).
TALK = {
    "judgement": "Is there any anomaly in the scene?",
    "target": "Which target is it?",
    "features": "What are its features?",
    "motion": "What is its motion state?",
    "trajectory": "From where to where does it move?",
}
FIGURE = {
    "structured": "Is there an anomaly in the scene? Tell target, features, motion, trajectory and time.",
    "surroundings": "What are the surroundings?",
}
FORMS = {"protocol": DIALOGUE, "talk": TALK, "figure": FIGURE}
# What a turn asks about, by its words.
TOPICS = {asked: topic for words in FORMS.values() for topic, asked in words.items()}


def lettered(options: Sequence[str]) -> list[tuple[str, str]]:
    """(letter, option) of every option. Raises ValueError for more options than letters: none is dropped."""
    if len(options) > len(LETTERS):
        raise ValueError(f"{len(options)} options, at most {len(LETTERS)} ({LETTERS[0]} to {LETTERS[-1]})")
    return list(zip(LETTERS, options, strict=False))  # fewer options than letters is the rule
