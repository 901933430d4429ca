"""Log-probs of groups of completions: every clip is encoded once and every prompt computed once for all of a
group (`tvad.model.packing`), where TRL does both once per completion."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from tvad.model.clips import SeenClip
from tvad.model.modeling import TvadForConditionalGeneration
from tvad.model.packing import pack


@dataclass(frozen=True)
class Group:
    """A prompt (P,) and its completions (n,) each, taken out of a padded batch. clip: the group index of its
    clip; members: the batch's rows of the completions."""

    clip: int
    members: list[int]
    prompt: torch.Tensor
    completions: list[torch.Tensor]

    @property
    def tokens(self) -> int:
        """How long its packed row is: the prompt, and every completion behind the prompt's last token."""
        return len(self.prompt) + sum(len(c) + 1 for c in self.completions)


def groups_in(
    input_ids: torch.Tensor, attention_mask: torch.Tensor, width: int, group_index: list[int], together: bool
) -> list[Group]:
    """The groups of a batch (B, P + C), prompts padded at their left, completions of `width` C at their
    right; `together` False makes every completion a group of its own."""
    begin = input_ids.shape[1] - width
    ids = input_ids.cpu()
    prompts = attention_mask[:, :begin].sum(1).tolist()
    completed = attention_mask[:, begin:].sum(1).tolist()
    members: dict[tuple[int, int], list[int]] = {}
    for i, clip in enumerate(group_index):
        members.setdefault((clip, 0 if together else i), []).append(i)
    return [
        Group(
            clip,
            rows,
            ids[rows[0], begin - prompts[rows[0]] : begin],
            [ids[i, begin : begin + completed[i]] for i in rows],
        )
        for (clip, _), rows in members.items()
    ]


def group_logprobs(
    model,
    core: TvadForConditionalGeneration,
    prompts: list[torch.Tensor],
    completions: list[list[torch.Tensor]],
    vision: dict[str, torch.Tensor],
    temperature: float,
    pad_id: int,
    seen: list[SeenClip] | None = None,
    learns_entropy: bool = False,
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    """Log-probs and entropies of groups in one forward pass of `model` (`core` without what wraps it).

    prompts: ids (P_g,) of each group; completions: ids of its completions; vision: the groups' clips in
    order; seen: what the vision tower made of them, where that is known; learns_entropy: whether entropies
    have a gradient, which keeps two more tensors of the logits' size. Returns two nested lists of (n,)
    tensors in the order of `completions`.
    """
    # The last prompt token predicts the first token of every completion, so it belongs to the branches.
    branches = [
        [torch.cat([prompt[-1:], c]) for c in group]
        for prompt, group in zip(prompts, completions, strict=True)
    ]
    packed = pack([prompt[:-1] for prompt in prompts], branches, pad_id)
    length = max(len(prompt) - 1 for prompt in prompts)
    index = torch.arange(len(prompts), device=packed.input_ids.device)
    positions, _ = core.model.get_rope_index(
        packed.input_ids[:, :length],
        video_grid_thw=vision["video_grid_thw"],
        second_per_grid_ts=vision["second_per_grid_ts"],
        attention_mask=packed.segment[:, :length] == 0,
        clip_index=index,
    )
    # A place predicts the token after it: it is kept if both lie in the same branch.
    same = (packed.segment[:, 1:] == packed.segment[:, :-1]) & (packed.segment[:, 1:] > 0)
    keep = F.pad(same, (0, 1))
    device = core.device
    clips = {"seen": seen} if seen is not None else {k: v.to(device) for k, v in vision.items()}
    found = model(
        input_ids=packed.input_ids.to(device),
        attention_mask=packed.attention_mask(core.model.language_model).to(device),
        position_ids=packed.position_ids(positions).to(device),
        clip_index=index.to(device),
        logits_to_keep=keep.to(device),
        targets=packed.input_ids[:, 1:][same].to(device),
        temperature=temperature,
        learns_entropy=learns_entropy,
        use_cache=False,
        **clips,
    )
    # Of the kept places, row by row, branch by branch.
    sizes = [len(c) for group in completions for c in group]
    counts = [len(group) for group in completions]
    return _nested(found.logprobs.split(sizes), counts), _nested(found.entropies.split(sizes), counts)


def _nested(parts: tuple[torch.Tensor, ...], counts: list[int]) -> list[list[torch.Tensor]]:
    """Completions one after the other, as groups of `counts`."""
    remaining = iter(parts)
    return [[next(remaining) for _ in range(count)] for count in counts]


def padded(rows: list[torch.Tensor], width: int) -> torch.Tensor:
    """Rows (n,) -> (B, width), 0 at their right."""
    return torch.stack([F.pad(row, (0, width - len(row))) for row in rows])
