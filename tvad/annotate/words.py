"""What a timeline says in words: its looks, the narratives of a video (overall, attribute, motion), T-VAU's
dialogue with its time anchors. The wording is ours; where the data sets of this project have one already it
is theirs."""

from collections.abc import Mapping, Sequence
from typing import Any

from tvad.annotate.timelines import Timeline
from tvad.data.narrate import motion, narratives, pace
from tvad.data.questions import DIALOGUE
from tvad.data.sample import Sample, Track

DOING = "ing"  # how a word ends that says what somebody does


def as_row(timeline: Timeline) -> dict[str, Any]:
    """A timeline as JSON."""
    told = {name: timeline.told(name) for name in (*timeline.look, "action")}
    return {
        "id": timeline.id,
        "look": timeline.look,
        "action": timeline.action,
        "sure": {name: round(found[1], 3) for name, found in told.items() if found is not None},
        "boxes": {str(f): list(box) for f, box in timeline.boxes.items()},
        "anomalous": list(timeline.anomalous),
        "masked": timeline.masked,
        "verdict": timeline.verdict,
        "reasons": timeline.reasons,
        "dropped_words": timeline.dropped_words,
    }


def kind_of(look: Mapping[str, str]) -> str:
    return look.get("kind", "object")


def phrase(look: Mapping[str, str]) -> str | None:
    """How a target looks, as it follows "It is"; None where nothing is known of it."""
    clothes = " and ".join(look[n] for n in ("upper", "lower") if n in look)
    parts = [f"dressed in {clothes}"] if clothes else [look["colour"]] if "colour" in look else []
    parts += [f"with {article(look['carries'])}"] if "carries" in look else []
    return ", ".join(parts) or None


def words_of(look: Mapping[str, str]) -> str:
    """A target as it is asked for: "person dressed in red and blue"."""
    said = phrase({name: w for name, w in look.items() if name != "colour"})
    named = f"{look['colour']} {kind_of(look)}" if "colour" in look else kind_of(look)
    return f"{named} {said}" if said else named


def who(look: Mapping[str, str]) -> str:
    """A target in short, as a sentence begins: "A person in red", "A red car", "The suitcase"."""
    kind = kind_of(look)
    if "upper" in look:
        named = f"{article(kind)} in {look['upper']}"
    elif "colour" in look:
        named = article(f"{look['colour']} {kind}")
    else:
        named = f"the {kind}"
    return named[0].upper() + named[1:]


def article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def track_of(row: Mapping[str, Any]) -> Track:
    """A timeline's row as a track of a sample."""
    boxes = {int(f): tuple(box) for f, box in row["boxes"].items()}
    return Track(row["id"], kind_of(row["look"]), boxes, tuple(row["anomalous"]), phrase(row["look"]))


def sentence(look: Mapping[str, str], action: str | None, move: Mapping[str, Any]) -> str:
    """What an anomalous target does."""
    if action is None or not action.endswith(DOING):
        return f"{who(look)} {pace(dict(move))}."
    way = f" {move['way']}" if move["moving"] else ""
    return f"{who(look)} is {action}{way}."


def dialogue(sample: Sample, wrong: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """T-VAU's protocol about the anomalous targets (rows), by when they begin to misbehave. A target's motion
    is that of all its boxes, before and after, too: from where to where it goes is seen there (ours)."""
    if not sample.anomalous:
        return ((DIALOGUE["judgement"], "No."),)
    replies = {"judgement": "Yes."}
    if wrong:
        moves = [_move(sample, row) for row in wrong]
        many = len(wrong) > 1
        names = [f"Target {n + 1}" if many else "It" for n in range(len(wrong))]
        replies["target"] = " ".join(
            f"{name} is {_lower(who(row['look']))}." if many else f"{who(row['look'])}."
            for name, row in zip(names, wrong, strict=True)
        )
        replies["motion"] = " ".join(f"{n} {pace(m)}." for n, m in zip(names, moves, strict=True))
        replies["trajectory"] = " ".join(
            (f"{name} goes from" if many else "From") + f" the {move['from']} to the {move['to']}."
            for name, move in zip(names, moves, strict=True)
        )
    spans = ", ".join(f"from {a:.2f} to {b:.2f} s" for a, b in sample.spans or ())
    when = f"{spans[0].upper()}{spans[1:]}." if spans else ""
    cause = " ".join(part for part in (when, sample.rationale) if part)
    if cause:
        replies["cause"] = cause
    return tuple((asked, replies[topic]) for topic, asked in DIALOGUE.items() if topic in replies)


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]


def _move(sample: Sample, row: Mapping[str, Any]) -> dict:
    track, shown = track_of(row), sample.video
    return motion(track.boxes, shown.width or 1, shown.fps or 1.0, shown.times)


def rationale(sample: Sample, wrong: Sequence[Mapping[str, Any]]) -> str | None:
    """What happens that is unusual, a sentence a target."""
    if not wrong:
        return None
    return " ".join(sentence(row["look"], row["action"], _move(sample, row)) for row in wrong)


def told(sample: Sample) -> dict[str, list[list[str]]]:
    """The narratives of a sample with tracks by their kind: overall, attribute, motion (T-VAU's phase A)."""
    found: dict[str, list[list[str]]] = {"overall": [], "attribute": [], "motion": []}
    for asked, answer in narratives(sample):
        kind = "attribute" if asked.endswith("look?") else "motion" if asked.endswith("move?") else "overall"
        found[kind].append([asked, answer])
    return found
