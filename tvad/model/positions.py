"""Position ids of rows with video and image tokens (multimodal RoPE: time, row, column; Qwen2-VL, arXiv
2409.12191, section 2.1).

Text counts on in all three; a run of video tokens spans its (t, h, w) grid from there; what follows starts at
the largest position so far + 1. That is the original Qwen code's and vLLM's rule; transformers 5.17 adds
max(h, w) instead, which is smaller where a clip spans more positions in time than it has rows and columns.
vLLM computes its own; `vllm_model.iter_mm_grid_thw` shifts Qwen2.5-VL's clip behind the anomaly prompts.
"""

from collections.abc import Iterable

import torch

# A run of video or image tokens: (t, h, w) in merged patches, and the step of positions from t to t + 1.
Block = tuple[int, int, int, float]


def step_seconds(frames_per_step: int, rates: Iterable[float]) -> torch.Tensor:
    """(clips,) float32: seconds from one time step to the next of clips of so many sampled frames a second.

    In this type wherever positions are made of them, whatever the model's: bfloat16, to which vLLM rounds all
    that a processor gives, has 8 significant bits, and one clip in two then lies elsewhere in time."""
    return torch.tensor([frames_per_step / rate for rate in rates], dtype=torch.float32)


def block_positions(block: Block) -> torch.Tensor:
    """(3, t*h*w): floor(step * t), y, x of every token, from 0."""
    t, h, w, step = block
    mesh = torch.meshgrid(torch.arange(t), torch.arange(h), torch.arange(w), indexing="ij")
    grid = torch.stack(mesh).reshape(3, -1)
    # In float64, as vLLM does: torch multiplies integers in float32, where 5 * 5.1999998 is 26.
    grid[0] = (grid[0].double() * step).long()
    return grid


def row_positions(
    ids: torch.Tensor, video: int, image: int, videos: list[Block], images: list[Block]
) -> torch.Tensor:
    """Positions (3, n) of one row's tokens (n,). Takes the blocks that it finds in the row from the fronts of
    `videos` and `images`; longer than the row where its last block is cut.

    Tokens beyond what the blocks call for count as text, so a stray video token in a completion moves
    nothing.
    """
    parts: list[torch.Tensor] = []
    at = done = 0  # next position; tokens that have one
    tokens = ((ids == video) | (ids == image)).nonzero().flatten()
    for start, is_video in zip(tokens.tolist(), (ids[tokens] == video).tolist(), strict=True):
        # Tokens of the block just placed, and tokens that no block is left for, are passed over.
        queue = videos if is_video else images
        if start < done or not queue:
            continue
        grid = block_positions(queue.pop(0))
        parts.append(torch.arange(start - done).expand(3, -1) + at)
        at += start - done
        parts.append(grid + at)
        at, done = int(grid.max()) + at + 1, start + grid.shape[1]
    parts.append(torch.arange(max(0, len(ids) - done)).expand(3, -1) + at)
    return torch.cat(parts, 1)


def rope_index(
    input_ids: torch.Tensor,
    video: int,
    image: int,
    clips: list[list[Block]],
    images: list[Block],
    attention_mask: torch.Tensor | None = None,
    clip_index: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions (3, B, L), 0 where masked, and deltas (B, 1): largest position + 1 - length, what generation
    adds to go on.

    input_ids (B, L); video, image: their tokens; clips: blocks of every clip; clip_index (B,): the clip of
    every row, -1 for none, without it clips follow the rows' order. Raises ValueError for a row that ends
    inside a clip.
    """
    images = list(images)
    pending = [block for clip in clips for block in clip]
    positions = torch.zeros(3, *input_ids.shape, dtype=torch.long)
    deltas = []
    for b, row in enumerate(input_ids.cpu()):
        keep = (
            torch.ones_like(row, dtype=torch.bool)
            if attention_mask is None
            else attention_mask[b].bool().cpu()
        )
        ids = row[keep]
        if clip_index is not None:  # rows share clips: each starts with its own
            pending = list(clips[int(clip_index[b])]) if int(clip_index[b]) >= 0 else []
        found = row_positions(ids, video, image, pending, images)
        if found.shape[1] != len(ids):
            raise ValueError(f"row {b}: its video tokens do not match the clip's grid")
        # Generation goes on at (length so far) + delta, which a clip's grid moves away from the length.
        positions[:, b, keep] = found
        deltas.append(int(found.max()) + 1 - len(ids) if len(ids) else 0)
    device = input_ids.device
    return positions.to(device), torch.tensor(deltas, device=device).unsqueeze(1)
