"""What is said about a rendered clip: description, rationale, questions with references, dialogue. Words come
from the plan and the visible boxes, so every statement can be checked against the picture."""

import numpy as np

from tvad.answer import NONE, Box
from tvad.data.narrate import WAYS, motion, pace
from tvad.data.questions import ASKED, DIALOGUE, LETTERS
from tvad.data.sample import Question
from tvad.data.scenes.actors import COLOURS
from tvad.data.scenes.render import Clip
from tvad.data.scenes.script import ANOMALIES

NOTHING = "nothing unusual"
WHAT_COLOUR, WHICH_WAY = "What colour is the {what}?", "Which way does it go?"
SENTENCE = {
    "running": "{who} is running {way}.",
    "cycling": "A cyclist in {top} is cycling {way} among people.",
    "vehicle intrusion": "Vehicle intrusion: {paint} car drives {way} among people.",
    "falling": "{who} is falling and stays on the ground.",
    "fighting": "{who} is fighting with another person.",
    "jaywalking": "{who} is jaywalking over the road.",
    "loitering": "{who} is loitering, sitting on the ground.",
    "abandoned object": "Abandoned object: a suitcase is left behind.",
    "throwing": "{who} is throwing something {way}.",
    "smoke": "Thick smoke rises from the ground.",
    "fire": "A fire burns on the ground.",
    "crawling": "{who} is crawling {way}.",
    "jumping": "{who} is jumping up and down.",
}
CAUSE = {
    "running": "It moves several times faster than everyone else.",
    "cycling": "Bicycles do not belong where people walk.",
    "vehicle intrusion": "Cars do not belong where people walk.",
    "falling": "The person goes down and does not get up.",
    "fighting": "Two people strike at each other.",
    "jaywalking": "The road is crossed away from the zebra crossing.",
    "loitering": "The person stays at one spot without a purpose.",
    "abandoned object": "Its owner walks away without it.",
    "throwing": "An object flies through the air.",
    "smoke": "Smoke is a sign of danger.",
    "fire": "Open fire is dangerous.",
    "crawling": "People do not move on hands and knees here.",
    "jumping": "Nobody else jumps.",
}
KEY_OBJECT = {
    "cycling": "bicycle",
    "vehicle intrusion": "car",
    "abandoned object": "suitcase",
    "smoke": "smoke",
    "fire": "fire",
}
NORMAL = "People go about as usual, nothing unusual happens."


def _article(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def anomaly_span(clip: Clip) -> tuple[float, float] | None:
    """Onset and offset in seconds, from the first to the end of the last frame with anomalous pixels."""
    frames = np.flatnonzero(clip.anomalous_frames)
    return (
        None
        if len(frames) == 0
        else (float(frames[0] / clip.plan.fps), float((frames[-1] + 1) / clip.plan.fps))
    )


def box_at(clip: Clip, frame: int) -> tuple[float, float, float, float] | None:
    """Box of the anomalous pixels of a frame in 0..1000 of width and height."""
    rows, columns = (np.flatnonzero(clip.masks[frame].any(axis)) for axis in (1, 0))
    if len(rows) == 0:
        return None
    height, width = clip.masks.shape[1:]
    edges = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    x1, y1, x2, y2 = (float(round(1000 * c)) for c in edges)
    return x1, y1, x2, y2


def _options(rng, right: str, pool: list[str], letter: int, always: str | None = None) -> tuple[str, ...]:
    """Four options with `right` at index `letter`; `always` is among them."""
    wrong = [o for o in pool if o not in (right, always)]
    picked = [str(o) for o in rng.permutation(wrong)[:3]]
    if always and always != right:
        picked[int(rng.integers(3))] = always
    picked.insert(letter, right)
    return tuple(picked)


def describe(clip: Clip, rng: np.random.Generator, letters: tuple[int, int, int]) -> dict:
    """Texts and questions of a clip as `Sample` fields. `letters`: index of the right option for the event,
    colour and direction questions (the data set balances them)."""
    category = clip.plan.category
    anomalous = category is not None
    label = category or "normal"
    culprit = clip.plan.culprit or 0
    actor = clip.plan.actors[culprit] if anomalous else None
    move = motion(clip.tracks.get(culprit, {}), clip.masks.shape[2], clip.plan.fps) if anomalous else {}
    words = {"who": "", "top": "", "paint": "", "way": move.get("way", "")}
    if actor is not None and actor.look is not None:
        words |= {"who": f"A person in {actor.look.top}", "top": actor.look.top}
    if actor is not None and actor.colour is not None:
        words["paint"] = _article(actor.colour)
    rationale = SENTENCE[category].format(**words) if category else NORMAL
    span = anomaly_span(clip)
    key = KEY_OBJECT.get(label, "person") if anomalous else None

    event = _options(rng, category or NOTHING, list(ANOMALIES), letters[0], NOTHING)
    questions = [
        Question("mcq", ASKED["mcq"], LETTERS[letters[0]], event, "event", rationale),
        Question(
            "judgement",
            ASKED["judgement"],
            "Yes" if anomalous else "No",
            None,
            "judgement",
            rationale,
        ),
        Question("classification", ASKED["classification"], label, None, "class", rationale),
        Question(
            "temporal",
            ASKED["temporal"],
            "Anomaly" if anomalous else "Normal",
            None,
            "when",
            rationale,
            (span,) if span else NONE,
        ),
    ]
    if actor is not None:
        colour = words["top"] or actor.colour
        if colour:
            what = "car" if words["paint"] else "person's top"
            options = _options(rng, colour, list(COLOURS), letters[1])
            questions.append(
                Question(
                    "mcq", WHAT_COLOUR.format(what=what), LETTERS[letters[1]], options, "colour", rationale
                )
            )
        if move["moving"] and category in ("running", "cycling", "vehicle intrusion", "crawling"):
            options = _options(rng, move["way"], list(WAYS), letters[2])
            questions.append(Question("mcq", WHICH_WAY, LETTERS[letters[2]], options, "direction", rationale))
        # Even frames are those that a model at half the rate sees.
        frames = [f for f in np.flatnonzero(clip.anomalous_frames) if f % 2 == 0] or list(
            np.flatnonzero(clip.anomalous_frames)
        )
        frame = int(rng.choice(frames))
        box = box_at(clip, frame)
        assert box is not None and key is not None
        text = ASKED["spatial"].format(seconds=frame / clip.plan.fps)
        questions.append(Question("spatial", text, key, None, "where", rationale, None, (Box(box),)))

    return {
        "rationale": rationale,
        "description": f"{clip.backdrop.capitalize()}, {clip.weather}. {rationale}",
        "key_object": key,
        "questions": tuple(questions),
        "dialogue": _dialogue(clip, category, words, move, span, key),
    }


def _dialogue(clip, category, words, move, span, key):
    """Judgement, target, motion, trajectory, time and cause, as in T-VAU's protocol."""
    if category is None:
        return ((DIALOGUE["judgement"], "No."), ("What do the people do?", NORMAL))
    target = (
        f"{words['paint'].capitalize()} car."
        if words["paint"]
        else f"A person in {words['top']}."
        if words["top"]
        else f"The {key}."
    )
    replies = {
        "judgement": "Yes.",
        "target": target,
        "motion": f"It {pace(move)}.",
        "trajectory": f"From the {move['from']} to the {move['to']}.",
        "cause": f"From {span[0]:.2f} to {span[1]:.2f} s. {CAUSE[category]}",
    }
    return tuple((DIALOGUE[topic], reply) for topic, reply in replies.items())


def symbolic_questions(seed: int, count: int) -> list[Question]:
    """Multiple-choice questions whose rationale states the fact that is asked for; no clip behind them.

    They teach binding a letter to an option, which is slow to learn from pictures, and give a tokenizer its
    words.
    """
    rng = np.random.default_rng(seed)
    questions = []
    for n in range(count):
        category = str(rng.choice([*ANOMALIES, NOTHING]))
        colour, way = str(rng.choice(list(COLOURS))), str(rng.choice(WAYS))
        words = {"who": f"A person in {colour}", "top": colour, "paint": _article(colour), "way": way}
        rationale = SENTENCE[category].format(**words) if category in SENTENCE else NORMAL
        letter = n % 4
        asked: list[tuple[str, str, list[str], str | None]] = [("event", category, [*ANOMALIES], NOTHING)]
        if colour in rationale:
            what = "car" if category == "vehicle intrusion" else "person's top"
            asked.append((WHAT_COLOUR.format(what=what), colour, list(COLOURS), None))
        if way in rationale:
            asked.append((WHICH_WAY, way, list(WAYS), None))
        text, right, pool, always = asked[int(rng.integers(len(asked)))]
        options = _options(rng, right, pool, letter, always)
        text = ASKED["mcq"] if text == "event" else text
        questions.append(Question("mcq", text, LETTERS[letter], options, "symbolic", rationale))
    return questions
