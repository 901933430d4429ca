"""What the model is asked: the system message that states the answer protocol, questions with lettered
options, chat messages."""

from typing import Any

from tvad.data.questions import lettered
from tvad.data.sample import Question

# A place in each unit of boxes (`tvad.answer.boxes`); the protocol's is the first.
PLACES = {
    "permille": "[x1, y1, x2, y2]</box>, 0 to 1000.",
    "permille_yx": "[y1, x1, y2, x2]</box>, 0 to 1000.",
    "unit": "[x1, y1, x2, y2]</box>, 0 to 1.",
    "percent": "[x1, y1, x2, y2]</box>, 0 to 100.",
    "pixels": "[x1, y1, x2, y2]</box>, in pixels of the picture.",
    "loc": "</box> with four <loc> tokens in it: y1, x1, y2, x2.",
}


def system(boxes: str = "permille") -> str:
    """The message that states the protocol, with boxes in a unit of PLACES."""
    return (
        "Reason inside <think></think>, then answer inside <answer></answer>. When asked for a time, add"
        " <glue>[start, end]</glue> in seconds, or <glue>none</glue>. When asked for a place, add <box>"
        f"{PLACES[boxes]}"
    )


SYSTEM = system()


def question_text(question: Question) -> str:
    """The question, with one lettered option a line where it is multiple choice."""
    options = (f"{letter}. {option}" for letter, option in lettered(question.options or ()))
    return "\n".join([question.text, *options])


VAU_R1_CLASSES = (
    "Abuse",
    "Agriculture",
    "Arrest",
    "Arson",
    "Assault",
    "Explosion",
    "Fighting",
    "Fire",
    "Food Safety",
    "Medical Abnormality",
    "Natural Hazard",
    "Normal",
    "Object_falling",
    "People_falling",
    "Robbery",
    "Shooting",
    "Stealing",
    "Traffic_accident",
    "Vandalism",
    "Water_incident",
)


def _vau_r1_text(question: Question, think: bool) -> str:
    """VAU-R1's prompt structure (arXiv 2505.23504, its published code), in our words: quote the question and
    its options, ask for the reasoning in <think>, the answer in <answer>, for a time the period in <glue>,
    close with an example of the format."""
    reason = "Write down your reasoning within <think> </think> first. " if think else ""
    example = "<think>your reasoning</think>" if think else ""
    if question.kind == "temporal":
        ask = (
            f"{reason}Is there an anomaly in this video? Within <answer> </answer> say Anomaly and give its"
            " period in seconds within <glue> </glue> as [s, e], or say Normal with the period [-1.0, -1.0]."
        )
        return f"{ask}\nExample: {example}<answer>Anomaly</answer><glue>[5.2, 10.4]</glue>"
    if question.kind == "classification":
        ask = (
            f"{reason}Which type of anomaly appears in this video? Choose one of:"
            f" {', '.join(VAU_R1_CLASSES)}. Say Normal if there is none."
        )
        return f"{ask} Give the name within <answer> </answer>.\nExample: {example}<answer>Fire</answer>"
    quoted = f'Question: "{question.text}"'
    if question.options:
        listed = "\n".join(f"{letter}. {option}" for letter, option in lettered(question.options))
        quoted += f"\nOptions:\n{listed}"
        return (
            f"{quoted}\n{reason}Give the letter of the right option within <answer> </answer>.\nExample:"
            f" {example}<answer>A</answer>"
        )
    return (
        f"{quoted}\n{reason}Give your answer within <answer> </answer>.\nExample:"
        f" {example}<answer>Yes</answer>"
    )


# How a benchmark puts its questions: our protocol, and VAU-R1's with and without reasoning, for
# paper-comparable numbers.
STYLES = ("tvad", "vau_r1", "vau_r1_no_think")


def asked(
    question: Question,
    style: str = "tvad",
    video: Any = None,
    history: tuple[tuple[str, str], ...] = (),
    boxes: str = "permille",
) -> list[dict]:
    """Chat messages for a question in a style; boxes: their unit, in which the answer is read. VAU-R1's is
    one user turn, text before video, without a system message."""
    if style == "tvad":
        return messages(question_text(question), video, history, boxes)
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; known: {', '.join(STYLES)}")
    part = {"type": "video"} if video is None else {"type": "video", "video": video}
    turns: list[dict] = []
    for n, (text, answered) in enumerate([*history, (_vau_r1_text(question, style == "vau_r1"), "")]):
        content: list[dict] = [{"type": "text", "text": text}]
        turns.append({"role": "user", "content": [*content, part] if n == 0 else content})
        if n < len(history):
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answered}]})
    return turns


def messages(
    text: str, video: Any = None, history: tuple[tuple[str, str], ...] = (), boxes: str = "permille"
) -> list[dict]:
    """Chat messages: the protocol, the video, earlier turns (question, answer), then `text`. `video` goes
    into the video part; boxes: their unit."""
    turns: list[dict] = [{"role": "system", "content": [{"type": "text", "text": system(boxes)}]}]
    part = {"type": "video"} if video is None else {"type": "video", "video": video}
    for n, (asked, answered) in enumerate([*history, (text, "")]):
        content: list[dict] = [{"type": "text", "text": asked}]
        turns.append({"role": "user", "content": [part, *content] if n == 0 else content})
        if n < len(history):
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answered}]})
    return turns
