"""Families of models by the `model_type` of their config.json: the unit of the boxes that they write, marks
of reasoning of their own, whether they take pictures only. Times are asked for in seconds of all of them: in
seconds Qwen2.5-VL and Qwen3-VL were trained to give them (arXiv 2502.13923, 2511.21631), the makers of the
others publish no other unit.

The question asks for boxes in the unit in which the answer is read, so that neither fits only by luck. A
family that is not in the table is asked and read as the protocol has it, and the run says so.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tvad.answer import Reading
from tvad.answer.boxes import Unit
from tvad.common.errors import InputError


@dataclass(frozen=True)
class Family:
    """boxes: their unit. source: who says so. pictures: it takes no video. reasoning: its marks, which count
    as the protocol's do."""

    boxes: Unit
    source: str
    pictures: bool = False
    reasoning: tuple[tuple[str, str], ...] = ()

    @property
    def sent_as(self) -> Literal["frames", "file"]:
        """How clips travel to an endpoint where nothing else is said."""
        return "frames" if self.pictures else "file"


PROTOCOL = Family("permille", "the protocol, docs/answers.md")
UNSTATED = "its makers state no unit: as the question asks"
_LLAVA = "LLaVA-1.5's grounding data, arXiv 2310.03744: 0 to 1"
_GLM = "GLM-4.1V-Thinking, arXiv 2507.01006: 0 to 1000 of width and height"
_INTERNVL = "InternVL's documentation of grounding: 0 to 1000"
_MINICPM = "MiniCPM-V's examples of grounding: 0 to 999"
_QWEN3 = "Qwen3-VL's cookbook of 2D grounding: 0 to 1000, as in Qwen2-VL"
FAMILIES = {
    "tvad": PROTOCOL,
    "tvad_qwen3": PROTOCOL,
    "qwen2_vl": Family("permille", "Qwen2-VL, arXiv 2409.12191: 0 to 1000"),
    "qwen2_5_vl": Family("pixels", "Qwen2.5-VL, arXiv 2502.13923: pixels of the picture as it is resized"),
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_moe"), Family("permille", _QWEN3)),
    "internvl": Family("permille", _INTERNVL),
    "internvl_chat": Family("permille", _INTERNVL, pictures=True),
    **dict.fromkeys(("glm4v", "glm4v_moe", "glm46v"), Family("permille", _GLM)),
    **dict.fromkeys(("llava", "llava_next"), Family("unit", _LLAVA, pictures=True)),
    **dict.fromkeys(("llava_next_video", "llava_onevision", "video_llava"), Family("unit", _LLAVA)),
    "minicpmv": Family("permille", _MINICPM, pictures=True),
    "minicpmv4_6": Family("permille", _MINICPM),
    "deepseek_vl_v2": Family("permille", "DeepSeek-VL2, arXiv 2412.10302: 0 to 999", pictures=True),
    "paligemma": Family("loc", "PaliGemma, arXiv 2407.07726: <loc0000> to <loc1023>, y first", pictures=True),
    "kimi_vl": Family("permille", UNSTATED, pictures=True, reasoning=(("◁think▷", "◁/think▷"),)),
    "mistral3": Family("permille", UNSTATED, pictures=True, reasoning=(("[THINK]", "[/THINK]"),)),
    "smolvlm": Family("permille", UNSTATED),
    **dict.fromkeys(("idefics2", "idefics3", "gemma3"), Family("permille", UNSTATED, pictures=True)),
}


@dataclass(frozen=True)
class Known:
    """What is known of a model's family: its name, None where unknown, and who said so."""

    name: str | None
    by: str

    @property
    def family(self) -> Family:
        return FAMILIES[self.name] if self.name else PROTOCOL


def known(told: str | None, config: Any = None) -> Known:
    """The family that was named, else that of a configuration of transformers. Raises InputError for a name
    that is none."""
    if told is not None:
        if told not in FAMILIES:
            raise InputError(f"family: unknown family {told!r}; known: {', '.join(FAMILIES)}")
        return Known(told, "--model.family")
    # A T-VAD that left as a plain Qwen-VL keeps what it was trained on (`tvad.model.plain`).
    kind = getattr(config, "answers_as", None) or getattr(config, "model_type", None)
    if kind is None:
        return Known(None, "nothing says it; --model.family would")
    return (
        Known(kind, "config.json") if kind in FAMILIES else Known(None, f"model_type {kind!r} is not known")
    )


def rule(reading: Reading, found: Known) -> dict[str, Any]:
    """What a line of samples.jsonl holds: by whose rules its answer was read."""
    picture = {"picture": reading.picture} if reading.picture else {}
    return {"family": found.name, "boxes": reading.unit, **picture}
