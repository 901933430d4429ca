"""A model card: what a submitter says about a model. Written as YAML, kept by the store as JSON; everything
in it is shown, nothing in it is trusted."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from tvad.common import config
from tvad.common.errors import InputError
from tvad.common.files import parse_json

MOST = 64 << 10  # characters of a card
MOST_TEXT = 2000  # characters of one of its texts
MOST_NAME = 100  # characters of a name or organisation: what a column of the store holds
# Control characters could forge lines in logs, and turning the direction of writing could forge names in
# tables.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
BLANK = "\u034f\u115f\u1160\u2800\u3164\uffa0\U0001d159"  # letters and marks that show nothing
NUMBER = re.compile(r"[-+]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][-+]?[0-9]{1,3})?")
RUNNABLE = re.compile(
    r"(hf|vllm):[\w][\w.-]{0,95}/[\w][\w.-]{0,95}@[0-9a-f]{40}|baseline:[a-z]{1,20}", re.ASCII
)
WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it


@dataclass
class Card:
    """A model, as its submitter describes it."""

    name: str
    """Of the model; several submissions of one account under one name are its history."""
    organisation: str
    """Who made it."""
    licence: str
    """Of the weights, or of the service."""
    contamination: str
    """What is known about test data among its training data; "none known" is a statement, silence is not."""
    data: list[str]
    """What it was trained on."""
    data_licences: list[str] = field(default_factory=list)
    """The licence of each entry of `data`, in its order; empty where they are not stated."""
    parameters: float | None = None
    """Their count; null where it is unknown."""
    open_weights: bool = False
    """Whether anyone can have the weights."""
    uses_video: bool = True
    """Whether it looks at the video, or at the question only."""
    baseline: bool = False
    """A point of reference (chance, a prior, an older method), not a contender."""
    links: list[str] = field(default_factory=list)
    """http(s) addresses of a paper, code or weights."""
    model: str = ""
    """By what anyone can run it: hf:OWNER/NAME@COMMIT or vllm:OWNER/NAME@COMMIT of the Hugging Face Hub (all
    40 digits of the commit: a branch is another model tomorrow), or baseline:NAME; empty where nobody can."""
    description: str = ""
    """One line for the model's page."""


def _of_yaml(text: str, where: str) -> dict[str, Any]:
    """A strict subset of YAML: keys with a text, a number, true, false, null or a list of texts. No tags,
    anchors and aliases (a few lines of which can stand for gigabytes), no dates, no numbers to the base 60,
    nothing nested deeper: read event by event, so that the first that is too deep ends it."""
    found: dict[str, Any] | None = None
    inside, key = 0, None  # the mapping is 1, a list in it 2
    for event in yaml.parse(text, Loader=LOADER):
        line = f"{where}: line {event.start_mark.line + 1}" if event.start_mark else where
        named = getattr(event, "anchor", None) or getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent) or named:
            raise InputError(f"{line}: YAML tags, anchors and aliases are not taken")
        if isinstance(event, yaml.MappingStartEvent) and found is None:
            found, inside = {}, 1
        elif (
            isinstance(event, yaml.SequenceStartEvent)
            and inside == 1
            and found is not None
            and key is not None
        ):
            found[key], inside = [], 2
        elif isinstance(event, yaml.CollectionStartEvent):
            raise InputError(f"{line}: nested too deeply; a key has a text, a number or a list of texts")
        elif isinstance(event, yaml.CollectionEndEvent):
            inside, key = inside - 1, None
        elif isinstance(event, yaml.ScalarEvent):
            if found is None or inside == 0:
                raise InputError(f"{where}: expected a mapping of keys to values")
            if inside == 2:
                found[key or ""].append(event.value)
            elif key is None:
                if (key := event.value) in found:
                    raise InputError(f"{line}: key {key!r:.80} is written twice")
            else:
                plain = not event.style
                number = plain and NUMBER.fullmatch(event.value)
                word = WORDS.get(event.value, event.value) if plain else event.value
                found[key], key = float(event.value) if number else word, None
    if found is None:
        raise InputError(f"{where}: expected a mapping of keys to values")
    return found


def _values(text: str, where: str) -> Any:
    """What a card holds: JSON where it is that, else YAML (whose flow style begins with a brace, too)."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError):
        pass
    try:
        return _of_yaml(text, where)
    except InputError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: not YAML ({' '.join(str(error).split())[:200]})") from error


# Marks without a shape of their own: selectors of variants, inherent vowels, fillers.
UNSEEN = re.compile("[\u034f\u17b4\u17b5\u180b-\u180f\ufe00-\ufe0f\U00016fe4\U0001d159\U000e0100-\U000e01ef]")


def is_runnable(model: str) -> bool:
    """Whether a card's `model` is one and the same for whoever runs it."""
    return RUNNABLE.fullmatch(model) is not None


def is_name(text: str) -> bool:
    """Whether this can be told from other names by looking at it: no characters that are not seen or turn the
    direction of writing, no spaces but single plain ones inside, no towers of accents."""
    kinds = [unicodedata.category(c) for c in text]
    seen = [
        c == " " or (kind[0] not in "CZ" and c not in BLANK and UNSEEN.match(c) is None)
        for c, kind in zip(text, kinds, strict=True)
    ]
    marks = kinds[:1] and kinds[0][0] == "M"  # one before any letter stands on nothing
    towers = re.search("m{4}", "".join("m" if kind in ("Mn", "Me") else "x" for kind in kinds))
    return bool(text) and text == " ".join(text.split()) and all(seen) and not towers and not marks


def _texts(card: Card) -> Iterator[tuple[str, str]]:
    """(key, text) of everything that a page shows."""
    for key in ("name", "organisation", "licence", "contamination", "model", "description"):
        yield key, getattr(card, key)
    for key in ("data", "data_licences", "links"):
        for text in getattr(card, key):
            yield key, text


def _is_address(link: str) -> bool:
    """Whether a link may stand in a page: http(s) only, nothing that ends an attribute."""
    try:
        parts = urlsplit(link)
    except ValueError:  # a host that is none
        return False
    return (
        parts.scheme in ("https", "http")
        and bool(parts.netloc)
        and not any(c.isspace() or c in "\"'<>`" for c in link)
    )


def read_card(text: str, where: str = "card.yaml") -> Card:
    """A card from JSON or a strict subset of YAML; unknown keys are refused. Raises InputError."""
    if len(text) > MOST:
        raise InputError(f"{where}: {len(text)} characters, at most {MOST} are read")
    card = config.build(Card, _values(text, where), where)
    for key in ("name", "organisation", "licence", "contamination"):
        if not getattr(card, key).strip():
            raise InputError(f"{where}: {key} is empty")
    for key, value in _texts(card):
        if len(value) > MOST_TEXT:
            raise InputError(f"{where}: {key} has {len(value)} characters, at most {MOST_TEXT} are taken")
        if CONTROL.search(value):
            raise InputError(f"{where}: {key} holds control characters")
    for key in ("name", "organisation"):
        if not is_name(getattr(card, key)):
            raise InputError(f"{where}: {key} holds characters that are not seen, or spaces at its ends")
        if (plain := unicodedata.normalize("NFKC", getattr(card, key))) != getattr(card, key):
            raise InputError(f"{where}: {key} holds characters that look like others; write {plain!r}")
    if len(card.name) > MOST_NAME or len(card.organisation) > MOST_NAME:
        raise InputError(f"{where}: name and organisation take at most {MOST_NAME} characters")
    if not card.data:
        raise InputError(f"{where}: data is empty; name what the model was trained on")
    if card.data_licences and len(card.data_licences) != len(card.data):
        raise InputError(
            f"{where}: data_licences has {len(card.data_licences)} entries for {len(card.data)} of data"
        )
    if card.model and not is_runnable(card.model):
        raise InputError(
            f"{where}: model is {card.model[:100]!r}, expected hf:OWNER/NAME@COMMIT or vllm:OWNER/NAME@COMMIT"
            " with the 40 digits of a commit, baseline:NAME, or nothing"
        )
    for link in card.links:
        if not _is_address(link):
            raise InputError(f"{where}: links: {link[:100]!r} is no http(s) address")
    if card.parameters is not None and not 1 <= card.parameters < 1e15:  # not-a-number and infinity fail here
        raise InputError(f"{where}: parameters must be a count, 1 to below 1e15, found {card.parameters!r}")
    return card


def to_json(card: Card) -> str:
    """As the store keeps it."""
    return json.dumps(asdict(card), allow_nan=False)


def from_json(text: str) -> dict[str, Any]:
    """A kept card as pages show it; keys that its time did not know have their defaults."""
    return vars(Card(**json.loads(text)))  # nobody else has its lists: they need no copy


TEMPLATE = Card(
    "<name of the model>",
    "<who made it>",
    "<licence of the weights, or of the service>",
    "<what is known about test data among its training data; none known is a statement, silence is not>",
    ["<what it was trained on>"],
    ["<its licence>"],
    links=["https://example.org/paper-code-or-weights"],
    description="<one line, or empty>",
)


def check_filled(card: Card, where: str) -> None:
    """Raises InputError where a text is still the template's."""
    untouched = {(key, text) for key, text in _texts(TEMPLATE) if text}
    left = list(dict.fromkeys(key for key, text in _texts(card) if (key, text) in untouched))
    if left:
        raise InputError(f"{where}: still as in the template: {', '.join(left)}; fill in or empty them")


def card_template() -> str:
    """A card to fill in, as YAML."""
    return yaml.safe_dump(asdict(TEMPLATE), sort_keys=False, allow_unicode=True)
