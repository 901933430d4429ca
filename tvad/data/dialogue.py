"""T-VAU's dialogue about the anomaly, in its forms, from what is known of a sample.

A form's turns are the answers that the data set's own dialogue gives to the same topics, else what tracks and
spans say; what neither says (how a target looks, of which masks know nothing) is left out, never made up.
The wording of what tracks say is ours.
"""

import re
from collections.abc import Callable
from typing import Literal

from tvad.data.narrate import MOST_OBJECTS, motion, objects, pace, several
from tvad.data.questions import FIGURE, FORMS, TOPICS
from tvad.data.sample import Sample, Track

Form = Literal["stored", "protocol", "talk", "figure"]
Turns = tuple[tuple[str, str], ...]
# The parts of the figure's one answer, in order: topic -> how it is announced.
PARTS = {
    "target": "Target",
    "features": "Features",
    "motion": "Motion",
    "trajectory": "Trajectory",
    "time": "Time",
}
_PART = re.compile(rf"\b({'|'.join(PARTS.values())})\s*:\s*", re.IGNORECASE)


def turns(sample: Sample, form: Form) -> Turns:
    """The turns of a sample in a form: as the data set holds them (stored), the paper's protocol, the talk's,
    or the framework figure's structured answer. Turns of the data set that ask about nothing that a form
    knows follow as they are; empty where it is not known whether anything is anomalous."""
    if form == "stored":
        return sample.dialogue or ()
    known = facts(sample)
    if "judgement" not in known:
        return sample.dialogue or ()
    if form == "figure":
        told = [(FIGURE["structured"], structured(known))]
        told += [(FIGURE["surroundings"], known["surroundings"])] if "surroundings" in known else []
    else:
        told = [(asked, known[topic]) for topic, asked in FORMS[form].items() if topic in known]
    own = [turn for turn in sample.dialogue or () if turn[0] not in TOPICS]
    return (*told, *own)


def once(told: Turns) -> Turns:
    """Each question with its first reply: where one stands there several times, with as many references, it
    is asked once."""
    found: dict[str, str] = {}
    for asked, reply in told:
        found.setdefault(asked, reply)
    return tuple(found.items())


def structured(known: dict[str, str]) -> str:
    """The figure's answer: the judgement, then each part that is known, announced by its name."""
    parts = [f"{name}: {known[topic]}" for topic, name in PARTS.items() if topic in known]
    return " ".join([known["judgement"], *parts])


def parts_of(text: str) -> dict[str, str]:
    """What a structured answer says: topic -> words; "judgement" is what stands before the first part. Of a
    part that is given twice the first."""
    pieces = _PART.split(text)
    topics = {name.lower(): topic for topic, name in PARTS.items()}
    found = {"judgement": pieces[0].strip()}
    for name, words in zip(pieces[1::2], pieces[2::2], strict=True):
        found.setdefault(topics[name.lower()], words.strip())
    return found


def facts(sample: Sample) -> dict[str, str]:
    """Topic -> words: of the data set's own dialogue, else of label, tracks, spans and description."""
    told = {TOPICS[asked]: reply for asked, reply in sample.dialogue or () if asked in TOPICS}
    found: dict[str, str] = {}
    if sample.label is not None:
        found["judgement"] = "Yes." if sample.anomalous else "No."
    if sample.anomalous:
        found |= _of_tracks(sample) | _of_spans(sample)
    if (around := surroundings(sample)) is not None:
        found["surroundings"] = around
    return found | told


def _of_tracks(sample: Sample) -> dict[str, str]:
    """Targets are the objects that misbehave, by when they begin to; of too many, none is described."""
    video = sample.video
    targets = sorted((t for t in objects(sample) if t.anomalous), key=lambda t: (t.anomalous[0], t.id))
    if not targets or not video.width or not video.fps:
        return {}
    if len(targets) > MOST_OBJECTS:
        return {"target": f"{several(len(targets), 'target')}."}
    moves = [motion(_meanwhile(t), video.width, video.fps, video.times) for t in targets]
    starts = [
        f"{_article(t.kind)} that starts in the {m['from']}" for t, m in zip(targets, moves, strict=True)
    ]
    found = {
        "target": _each(starts, lambda n: f"is {starts[n]}", lambda n: starts[n]),
        "motion": _each(moves, lambda n: pace(moves[n]), lambda n: f"It {pace(moves[n])}"),
        "trajectory": _each(moves, lambda n: _way(moves[n], "goes "), lambda n: _way(moves[n])),
    }
    if all(t.look for t in targets):
        found["features"] = _each(
            targets, lambda n: f"is {targets[n].look}", lambda n: f"It is {targets[n].look}"
        )
    return found


def _each(of: list, several_of: Callable[[int], str], one: Callable[[int], str]) -> str:
    """A sentence about the one target, or about each of several."""
    each = [f"target {n + 1} {several_of(n)}" for n in range(len(of))]
    words = one(0) if len(of) == 1 else "; ".join(each)
    return f"{words[0].upper()}{words[1:]}."


def _way(move: dict, goes: str = "") -> str:
    if not move["moving"] and move["from"] == move["to"]:
        return f"{'stays' if goes else 'It stays'} in the {move['from']}"
    return f"{goes}from the {move['from']} to the {move['to']}"


def _meanwhile(track: Track) -> dict[int, tuple[float, float, float, float]]:
    """The boxes of a target while it misbehaves; all of them where none is seen then."""
    return {f: track.boxes[f] for f in track.anomalous if f in track.boxes} or track.boxes


def _of_spans(sample: Sample) -> dict[str, str]:
    """When; the protocol asks for the cause beside it, which is the rationale."""
    if not sample.spans:
        return {"cause": sample.rationale} if sample.rationale else {}
    times = ", ".join(f"from {a:.2f} to {b:.2f} s" for a, b in sample.spans)
    time = f"F{times[1:]}."
    return {"time": time, "cause": f"{time} {sample.rationale}" if sample.rationale else time}


def surroundings(sample: Sample) -> str | None:
    """What a description that ends in the rationale says before it: place and weather of scenes."""
    described, rationale = sample.description, sample.rationale
    if not described or not rationale or not described.endswith(rationale):
        return None
    return described.removesuffix(rationale).strip() or None


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
