"""A model card: what a submitter says about a model. Written as YAML, kept by the store as JSON; everything
in it is shown, nothing in it is trusted."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import yaml

from tvad.common import config
from tvad.common.errors import InputError

MOST = 64 << 10  # characters of a card
MOST_TEXT = 2000  # characters of one of its texts
MOST_NAME = 100  # characters of a name or organisation: what a column of the store holds
# Control characters could forge lines in logs, and turning the direction of writing could forge names in
# tables.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


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
    description: str = ""
    """One line for the model's page."""


def _plain_yaml(text: str, where: str) -> Any:
    """YAML without tags, anchors and aliases: a few lines of aliases can stand for gigabytes."""
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, (yaml.TagToken, yaml.AnchorToken, yaml.AliasToken)):
                raise InputError(
                    f"{where}: line {token.start_mark.line + 1}: YAML tags, anchors and aliases are not taken"
                )
        return config.yaml_of(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where}: not YAML ({' '.join(str(error).split())[:200]})") from error


def _texts(card: Card) -> Iterator[tuple[str, str]]:
    """(key, text) of everything that a page shows."""
    for key in ("name", "organisation", "licence", "contamination", "description"):
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
    """A card from YAML (tags, anchors and unknown keys refused). Raises InputError."""
    if len(text) > MOST:
        raise InputError(f"{where}: {len(text)} characters, at most {MOST} are read")
    card = config.build(Card, _plain_yaml(text, where), where)
    for key in ("name", "organisation", "licence", "contamination"):
        if not getattr(card, key).strip():
            raise InputError(f"{where}: {key} is empty")
    for key, value in _texts(card):
        if len(value) > MOST_TEXT:
            raise InputError(f"{where}: {key} has {len(value)} characters, at most {MOST_TEXT} are taken")
        if CONTROL.search(value):
            raise InputError(f"{where}: {key} holds control characters")
    if len(card.name) > MOST_NAME or len(card.organisation) > MOST_NAME:
        raise InputError(f"{where}: name and organisation take at most {MOST_NAME} characters")
    if not card.data:
        raise InputError(f"{where}: data is empty; name what the model was trained on")
    if card.data_licences and len(card.data_licences) != len(card.data):
        raise InputError(
            f"{where}: data_licences has {len(card.data_licences)} entries for {len(card.data)} of data"
        )
    for link in card.links:
        if not _is_address(link):
            raise InputError(f"{where}: links: {link[:100]!r} is no http(s) address")
    if card.parameters is not None and not 0 < card.parameters < 1e15:  # not-a-number and infinity fail here
        raise InputError(f"{where}: parameters must be a positive count, found {card.parameters!r}")
    return card


def to_json(card: Card) -> str:
    """As the store keeps it."""
    return json.dumps(asdict(card), allow_nan=False)


def from_json(text: str) -> dict[str, Any]:
    """A kept card as pages show it; keys that its time did not know have their defaults."""
    return asdict(Card(**json.loads(text)))


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
    untouched = set(_texts(TEMPLATE))
    left = list(dict.fromkeys(key for key, text in _texts(card) if (key, text) in untouched))
    if left:
        raise InputError(f"{where}: still as in the template: {', '.join(left)}; fill in or empty them")


def card_template() -> str:
    """A card to fill in, as YAML."""
    return yaml.safe_dump(asdict(TEMPLATE), sort_keys=False, allow_unicode=True)
