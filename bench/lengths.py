"""How long a suite's prompts are, from the sizes of its clips and its texts: an engine gets the room that
they need, whatever its default."""

from bench.asking import history_of
from bench.suite import Item, Suite
from tvad.data.video import Budget
from tvad.model.budget import keep
from tvad.model.room import Longest, longest, shown
from tvad.prompts import asked


def longest_of(suite: Suite, items: list[Item], processor) -> Longest | None:
    """The longest prompt of a suite as a processor writes it, by its item; the model's earlier replies in a
    dialogue are reckoned at their limit. None where it asks nothing. Raises InputError for a processor that
    it is not known of."""
    keep(processor, Budget.of(suite))
    clips = {item.sample.id: item.sample for item in items}
    seen = {name: shown(sample, suite.rate, suite.max_frames) for name, sample in clips.items()}
    return longest(
        processor,
        (
            (
                item.id,
                asked(item.question, suite.prompt, "clip", history_of(item, lambda turn: "")),
                seen[item.sample.id],
                item.turn * suite.decode.max_tokens,
            )
            for item in items
        ),
    )
