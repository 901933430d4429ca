"""Prompt sets of AHD's text features: templates at word, phrase and sentence level, filled with states and
categories (section 3.1)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from tvad.common import config
from tvad.common.errors import InputError

LEVELS = ("word", "phrase", "sentence")


@dataclass
class PromptSet:
    """Prompts of AHD's two classes, by templates."""

    FOLDER: ClassVar[str] = "prompts"

    templates: dict[str, list[str]]
    """Level (word, phrase, sentence) -> texts with one `{}`, for what is seen."""
    states: dict[str, list[str]] = field(default_factory=dict)
    """Class (normal, abnormal) -> what is seen, e.g. {"normal": ["people walking"]}."""
    categories: list[str] = field(default_factory=list)
    """Anomaly classes: each is seen as it is for "abnormal" and through `negation` for "normal"."""
    negation: str = "no {}"
    """How a category is denied; one `{}`."""

    def expand(self, where: str = "prompts") -> dict[str, list[str]]:
        """{"normal": [...], "abnormal": [...]}, without repetitions, in a fixed order. Raises InputError that
        names the key."""
        if unknown := set(self.templates) - set(LEVELS):
            raise InputError(
                f"{where}: templates: unknown level {sorted(unknown)[0]!r}; expected {', '.join(LEVELS)}"
            )
        if unknown := set(self.states) - {"normal", "abnormal"}:
            raise InputError(
                f"{where}: states: unknown class {sorted(unknown)[0]!r}; expected normal and abnormal"
            )
        for text in [t for level in LEVELS for t in self.templates.get(level, ())] + [self.negation]:
            if text.count("{}") != 1:
                raise InputError(f"{where}: {text!r} must hold {{}} exactly once")
        seen = {
            "normal": list(self.states.get("normal", ())),
            "abnormal": list(self.states.get("abnormal", ())),
        }
        seen["abnormal"] += self.categories
        seen["normal"] += [self.negation.replace("{}", category) for category in self.categories]
        found = {
            name: list(
                dict.fromkeys(
                    t.replace("{}", what)
                    for level in LEVELS
                    for t in self.templates.get(level, ())
                    for what in seen[name]
                )
            )
            for name in ("normal", "abnormal")
        }
        for name, prompts in found.items():
            if not prompts:
                raise InputError(
                    f"{where}: no prompt for the class {name}; give states or categories, and templates"
                )
        return found


def read(path: str | Path) -> dict[str, list[str]]:
    """The prompts of a YAML file."""
    return config.read(PromptSet, path).expand(str(path))
