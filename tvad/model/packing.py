"""Branches that share a prefix in one row: the prefix is computed once, the branches cannot see each other.

Used by the group log-probs of GRPO (prefix: clip and question, branches: completions) and by supervised
training (prefix: clip, branches: questions with answers). Equal to separate rows up to rounding; costs
|prefix| + sum |branch| instead of n |prefix| + sum |branch| tokens.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from tvad.common.errors import InputError
from tvad.model.branched import Apart, Layout

# transformers' attentions that take any mask. Flash attention knows causal rows and padding, no branches.
MASKED = ("eager", "sdpa")


@dataclass
class Packed:
    """input_ids (B, L); segment (B, L): 0 prefix, k > 0 branch k, -1 padding; step (B, L): position within
    the own segment."""

    input_ids: torch.Tensor
    segment: torch.Tensor
    step: torch.Tensor

    def attention_mask(self, decoder: PreTrainedModel) -> torch.Tensor:
        """`allowed` as the language model `decoder` takes it: (B, 1, L, L) bool for SDPA, else float32 that
        is added to the scores, 0 where a token may look. On a CPU SDPA gets `Apart`, where that has less to
        do. Raises InputError for an attention without masks."""
        check_attention(decoder.config._attn_implementation)
        if decoder.config._attn_implementation == "sdpa":
            dropout = decoder.training and decoder.config.attention_dropout
            if decoder.device.type == self.segment.device.type == "cpu" and not dropout:
                layout = Layout.of(self.segment, self.step)
                if layout is not None and layout.worthwhile:
                    return Apart(layout)
            return self.allowed()
        allowed = self.allowed()
        # transformers hands a mask of four axes to the attention as it is. The eager one adds it: True would
        # be a score of 1 more, and nothing would be hidden.
        return torch.zeros_like(allowed, dtype=torch.float32).masked_fill(~allowed, torch.finfo().min)

    def allowed(self) -> torch.Tensor:
        """(B, 1, L, L) bool, True where the row's token may look: itself, its prefix, and earlier tokens of
        its own branch."""
        # Row i may look at column j where j is not later and in i's segment or in the prefix (segment 0).
        segment = self.segment
        length = segment.shape[1]
        same = segment[:, :, None] == segment[:, None, :]
        prefix = segment[:, None, :] == 0
        causal = torch.ones(length, length, dtype=torch.bool, device=segment.device).tril()
        allowed = (same | prefix) & causal & (segment[:, None, :] >= 0)
        # A padding row that may look nowhere would give NaN; it looks at itself.
        return (allowed | torch.eye(length, dtype=torch.bool, device=segment.device))[:, None]

    def position_ids(self, prefix_positions: torch.Tensor) -> torch.Tensor:
        """Positions (3, B, L) from those of the prefixes (3, B, P): a branch goes on after its prefix's
        largest position."""
        # Every branch starts where it would start alone, at the prefix's largest position + 1 (which is not
        # its length: a clip's tokens share positions), so branches overlap in positions but never see each
        # other.
        in_prefix = self.segment[:, : prefix_positions.shape[2]] == 0
        largest = prefix_positions.amax(0).masked_fill(~in_prefix, -1).amax(1)  # (B,)
        positions = (largest[:, None] + 1 + self.step).expand(3, -1, -1).clone()
        head = positions[:, :, : prefix_positions.shape[2]]
        head.copy_(torch.where(in_prefix, prefix_positions, head))
        return positions


def check_attention(name: str | None) -> None:
    """Raises InputError for one of transformers' attentions (None: its choice, SDPA) that cannot keep the
    branches of a row apart."""
    if name is not None and name not in MASKED:
        raise InputError(
            f"attention: {name} takes no mask that keeps the branches of a packed row apart, expected one of"
            f" {', '.join(MASKED)}"
        )


def pack(prefixes: list[torch.Tensor], branches: list[list[torch.Tensor]], pad_id: int) -> Packed:
    """Prefixes (P_i,) and their branches (n,) -> one padded row each.

    Two branches "a b" and "c" behind the prefix "P Q", padded by one:
        input_ids  P Q a b c .      segment  0 0 1 1 2 -1      step  0 1 0 1 0 0
    """
    rows, segments, steps = [], [], []
    for prefix, parts in zip(prefixes, branches, strict=True):
        pieces = [prefix, *parts]
        rows.append(torch.cat(pieces))
        segments.append(torch.cat([torch.full((len(p),), k) for k, p in enumerate(pieces)]))
        steps.append(torch.cat([torch.arange(len(p)) for p in pieces]))

    def padded(parts, value):
        return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True, padding_value=value)

    return Packed(padded(rows, pad_id), padded(segments, -1), padded(steps, 0))
