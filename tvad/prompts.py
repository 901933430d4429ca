"""What the model is asked: the system message that states the answer protocol, questions with lettered options, chat messages."""

from typing import Any

from tvad.data.sample import Question

SYSTEM = (
    "Reason inside <think></think>, then answer inside <answer></answer>. When asked for a time, add <glue>[start, end]</glue> in"
    " seconds, or <glue>none</glue>. When asked for a place, add <box>[x1, y1, x2, y2]</box>, 0 to 1000."
)
LETTERS = "ABCDEFGH"
# T-VAU's dialogue protocol, in the order in which it is asked: topic -> question. Answered in plain words, without tags.
DIALOGUE = {
    "judgement": "Is there an anomaly?",
    "target": "What is the target?",
    "motion": "How does it move?",
    "trajectory": "What is its trajectory?",
    "cause": "When and why?",
}


def question_text(question: Question) -> str:
    """The question, with one lettered option a line where it is multiple choice."""
    lines = [question.text]
    lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options or ())]
    return "\n".join(lines)


def messages(text: str, video: Any = None, history: tuple[tuple[str, str], ...] = ()) -> list[dict]:
    """Chat messages: the protocol, the video, earlier turns (question, answer), then `text`. `video` goes into the video part."""
    turns: list[dict] = [{"role": "system", "content": [{"type": "text", "text": SYSTEM}]}]
    part = {"type": "video"} if video is None else {"type": "video", "video": video}
    for n, (asked, answered) in enumerate([*history, (text, "")]):
        content: list[dict] = [{"type": "text", "text": asked}]
        turns.append({"role": "user", "content": [part, *content] if n == 0 else content})
        if n < len(history):
            turns.append({"role": "assistant", "content": [{"type": "text", "text": answered}]})
    return turns
