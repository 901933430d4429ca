"""Boxes that cannot be: what a model may not write inside `<box>`, token by token, so that it can be
penalised and counted. VANGUARD's motive (arXiv 2605.02912) is that models write "geometrically invalid"
boxes; how it keeps them from it is not public, this is ours: unlikelihood (Welleck et al. 2020) of the digits
that would put a corner left of or above the other one, or outside the picture, the other digits being those
of the reference."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from tvad.common.errors import InputError

_BOX = re.compile(r"<box>(.*?)</box>", re.DOTALL)
_FOUR = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]")
LARGEST = 1000  # thousandths of the picture
DIGITS = "0123456789"


@dataclass
class BoxDigits:
    """The wrong tokens of an answer's boxes, by a tokenizer."""

    tokenizer: Any

    @cached_property
    def digits(self) -> list[int]:
        """Ids of 0 to 9. Raises InputError for a tokenizer that has no token for each."""
        found = [self.tokenizer(digit, add_special_tokens=False)["input_ids"] for digit in DIGITS]
        if any(len(ids) != 1 for ids in found):
            raise InputError("losses.geometry: this tokenizer writes digits in several tokens")
        return [ids[0] for ids in found]

    def wrong(self, text: str) -> list[tuple[int, list[int]]]:
        """(number of a token of `text`, ids that would make the box impossible there), where there are
        such."""
        boxes = [
            (four.span(k + 1), four[k + 1], int(four[k - 1]) if k > 1 else -1, LARGEST - (k < 2))
            for inside in _BOX.finditer(text)
            for four in _FOUR.finditer(text, *inside.span(1))
            for k in range(4)
        ]
        if not boxes:
            return []
        ids = self.tokenizer(text, return_offsets_mapping=True)
        begins = {start: n for n, (start, _) in enumerate(ids["offset_mapping"])}
        ends = {start: end for start, end in ids["offset_mapping"]}
        found = []
        for (start, end), number, other, most in boxes:
            for place in range(start, end + 1):
                if place not in begins or (place < end and ends[place] != place + 1):
                    continue  # several digits are one token
                head, tail = number[: place - start], number[place - start + 1 :]
                tokens = [self.digits[d] for d in range(10) if not other < int(f"{head}{d}{tail}") <= most]
                if start < place < end and int(head) <= other and end in begins:  # ended too early
                    tokens.append(ids["input_ids"][begins[end]])
                right = ids["input_ids"][begins[place]]
                if tokens and right not in tokens:
                    found.append((begins[place], tokens))
        return found


def geometry_loss(
    logits: torch.Tensor, learn: torch.Tensor, wrong: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(-log of the probability that a token is none of the wrong ones, share of places whose likeliest token
    is one), means over the places that have any; 0 without.

    logits (N, V) of the places `learn` (B, L - 1), whose next token is learned; wrong: `row`, `place` (in the
    row) and `token` (n,) of each wrong token."""
    zero = logits.new_zeros((), dtype=torch.float32)
    if not len(wrong["row"]):
        return logits.sum() * 0.0, zero
    order = learn.flatten().cumsum(0).reshape(learn.shape) - 1  # number of the place's logits
    rows = order[wrong["row"], wrong["place"] - 1]
    places, of = rows.unique(return_inverse=True)
    found = logits[places].float()
    bad = torch.zeros_like(found, dtype=torch.bool)
    bad[of, wrong["token"]] = True
    # As a difference of logarithms: where the model is sure of a wrong digit, 1 - p would have no gradient.
    left = found.masked_fill(bad, -torch.inf).logsumexp(-1)
    loss = (found.logsumexp(-1) - left).mean()
    return loss, bad.gather(1, found.argmax(-1, keepdim=True)).float().mean()


def as_tensors(found: list[list[tuple[int, list[int]]]]) -> dict[str, torch.Tensor]:
    """`wrong` of the rows of a batch, with places in the row, as `geometry_loss` takes it."""
    flat = [
        (row, place, token)
        for row, places in enumerate(found)
        for place, tokens in places
        for token in tokens
    ]
    columns = torch.tensor(flat, dtype=torch.long).reshape(-1, 3)
    return dict(zip(("row", "place", "token"), columns.unbind(1), strict=True))
