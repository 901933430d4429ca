"""The marks that enclose reasoning: one table. Everything outside of them is the answer, and no answer is
read out of them. A suite adds marks of its own (`tvad.answer.reading.Reading.reasoning`)."""

import re
from functools import cache
from typing import NamedTuple


class Marks(NamedTuple):
    """What opens and closes reasoning, and whose it is."""

    open: str
    close: str
    whose: str


OWN = Marks("<think>", "</think>", "the protocol's; DeepSeek-R1, Qwen3, GLM-4.1V, MiMo-VL")
MARKS = (
    Marks("<thinking>", "</thinking>", "lmms-eval's reasoning tasks (pull 1038), Claude's prompts"),
    Marks("<thought>", "</thought>", "EXAONE 4, Gemini's thoughts as text"),
    Marks("<reasoning>", "</reasoning>", "LLaVA-CoT, and prompts of many GRPO recipes"),
    Marks("<summary>", "</summary>", "LLaVA-CoT"),
    Marks("<caption>", "</caption>", "LLaVA-CoT"),
    Marks("<analysis>", "</analysis>", "a prompt's own tag"),
    Marks("<rationale>", "</rationale>", "a prompt's own tag"),
    Marks("<scratchpad>", "</scratchpad>", "a prompt's own tag"),
    Marks("<antThinking>", "</antThinking>", "a prompt's own tag"),
    Marks("<reflection>", "</reflection>", "a prompt's own tag"),
    Marks("<thoughts>", "</thoughts>", "a prompt's own tag"),
    Marks("[THINK]", "[/THINK]", "Mistral's Magistral (lmms-eval, pull 1100)"),
    Marks("◁think▷", "◁/think▷", "Kimi-VL-Thinking"),
    Marks("<|open|>think<|sep|>", "<|close|>think<|sep|>", "Kimi K3 (vLLM's parser)"),
    Marks("<seed:think>", "</seed:think>", "Seed-OSS (vLLM's parser)"),
    Marks("<mm:think>", "</mm:think>", "MiniMax-M3 (vLLM's parser)"),
    Marks("<|START_THINKING|>", "<|END_THINKING|>", "Command A Reasoning (vLLM's parser)"),
    Marks("<|channel>thought", "<channel|>", "Gemma 4 (vLLM's parser)"),
    Marks("<|begin_of_thought|>", "<|end_of_thought|>", "Sky-T1, OpenThinker"),
    Marks("<unused94>thought", "<unused95>", "MedGemma"),
    Marks("Here is my thought process:", "Here is my response:", "Granite 3.2 (vLLM's parser)"),
    Marks("Here's my thought process:", "Here's my response:", "Granite 3.2 (vLLM's parser)"),
)
# gpt-oss (OpenAI's harmony format): channels. `analysis` and `commentary` are reasoning until the message
# ends or the channel `final` begins. With special tokens skipped, "analysis…assistantfinal…" is left.
_START = r"(?:<\|start\|>assistant)?<\|channel\|>\s{0,3}"
_CHANNEL = rf"{_START}(?:analysis|commentary)\b[^<]{{0,80}}<\|message\|>"
_FINAL = rf"{_START}final\b[^<]{{0,80}}(?:<\|constrain\|>[^<]{{0,40}})?<\|message\|>"
_BARE, _BARE_FINAL = "analysis", "assistantfinal"
# Ends of a turn that a decoder leaves in the text; no part of what is said.
_ENDS = (
    r"<\|(?:end|return|call|im_end|endoftext|eot_id|end_of_text|eom_id|eom|eot|user|assistant)\|>"
    r"|<end_of_turn>|<eos>|</s>|<｜end▁of▁sentence｜>"
)
_TAGS = r"</?(?:think|answer|glue|box)>"
_ATTRIBUTES = r"(?:\s[^<>=]{1,40}=[^<>]{0,200}(?<!/))?"
_LOOSE_TAGS = rf"<\s{{0,2}}/?\s{{0,2}}(?:think|answer|glue|box)\s{{0,2}}>|<(?:think|answer){_ATTRIBUTES}>"

LOOSE = re.compile(
    r"<(?:\s[^<>]{0,12}|/\s[^<>]{0,12}|[^<>\s]{1,10}\s[^<>]{0,201})>"
)  # with blanks, attributes


class Mark(NamedTuple):
    """A mark in a text: from `start` to `end`, the opening or closing one of the element `name`, or an end of
    turn (name ""). `family`: which marks of reasoning belong together (any closes what the prompt opened)."""

    start: int
    end: int
    name: str
    opening: bool
    family: str = ""


FOREIGN = "other:"  # begins the family of marks that are neither the protocol's nor the suite's
_PROMPT = "prompt"  # the family of what the prompt has opened


@cache
def _scanner(further: tuple[tuple[str, str], ...], strict: bool) -> tuple[re.Pattern[str], dict[str, str]]:
    """The pattern of all marks, and the family of each mark of reasoning (lower case)."""

    def any_of(words: list[str]) -> str:
        return "|".join(map(re.escape, words)) or "(?!)"

    def openings(words: list[str]) -> str:
        """Tags with attributes or without."""
        tags = [word for word in words if re.fullmatch(r"<[\w:]+>", word)]
        said = [rf"{re.escape(word[:-1])}{_ATTRIBUTES}>" for word in tags]
        return "|".join([*said, any_of([word for word in words if word not in tags])])

    parts = [
        f"(?P<open>{any_of([opening for opening, _ in further])})",
        f"(?P<close>{any_of([closing for _, closing in further])})",
        f"(?P<tag>{_TAGS if strict else _LOOSE_TAGS})",
    ]
    families = {mark.lower(): pair[0] for pair in further for mark in pair}
    firsts = {"<", *(mark[:1] for pair in further for mark in pair)}
    if not strict:
        parts += [
            f"(?P<other_open>{openings([marks.open for marks in MARKS])})",
            f"(?P<other_close>{any_of([marks.close for marks in MARKS])})",
            f"(?P<channel>{_CHANNEL})",
            f"(?P<final>{_FINAL}|{_BARE_FINAL})",
            f"(?P<end>{_ENDS})",
        ]
        for marks in MARKS:
            families |= {mark.lower(): FOREIGN + marks.open for mark in (marks.open, marks.close)}
        firsts |= {_BARE_FINAL[0], *(mark[0] for marks in MARKS for mark in (marks.open, marks.close))}
    # Most characters begin no mark: told by one look in place of some sixty.
    begins = f"(?=[{re.escape(''.join(sorted(firsts)))}])"
    return re.compile(f"{begins}(?:{'|'.join(parts)})", re.IGNORECASE), families


def marks_in(
    text: str, further: tuple[tuple[str, str], ...] = (), strict: bool = False, opened: bool = False
) -> list[Mark]:
    """The marks of a text in order; inside reasoning only those of its own family, so that a rationale may
    speak of others. further: (opening, closing) marks of reasoning beside the protocol's; strict: no others
    count; opened: the prompt has opened the reasoning, so the text begins inside it."""
    pattern, families = _scanner(further, strict)
    bare = not strict and text.startswith(_BARE) and _BARE_FINAL in text
    found = [Mark(0, 0, "think", True, _PROMPT)] if opened else []
    if bare:
        found.append(Mark(0, len(_BARE), "think", True, FOREIGN + "channel"))
    inside = found[-1].family if found else None  # the family of the reasoning that is open
    for match in pattern.finditer(text, found[-1].end if found else 0):
        kind, said, at = match.lastgroup, match.group().lower(), match.span()
        family, name = "", "think"
        if kind == "tag":
            name = said.strip("<>/ \t\r\n").split()[0]
            opening, family = "/" not in said[:4], OWN.open if name == "think" else ""
        elif kind in ("channel", "final", "end"):
            if said == _BARE_FINAL and not bare:
                continue  # a word of the answer
            opening, family = kind == "channel", FOREIGN + "channel"
            if not opening and inside != family:  # it ends no channel of reasoning and says nothing
                name, family = "", ""
        else:
            opening, family = "open" in str(kind), families.get(said) or families[said.split()[0] + ">"]
        if inside is not None and name == "think" and family != inside and inside != _PROMPT:
            continue
        repeated = opened and opening and name == "think" and len(found) == 1 and not text[: at[0]].strip()
        if repeated and not strict:  # the model writes the prompt's mark again: one opening
            found, inside = [], family
        if name == "think":
            inside = (inside or family) if opening else None
        found.append(Mark(*at, name, opening, family))
    return found


def ends_open(prompt: str, further: tuple[tuple[str, str], ...] = ()) -> bool:
    """Does a prompt end inside reasoning, as chat templates that open `<think>` for the model leave it?"""
    tail = prompt[-400:].rstrip().lower()
    opening = [OWN.open, *(o for o, _ in further), *(marks.open for marks in MARKS)]
    return tail.endswith(tuple(o.lower() for o in opening)) or re.search(rf"{_CHANNEL}$", tail) is not None
