"""The vision towers' two slow places, with the same weights and results.

Attention inside windows or frames, all pieces of one length at once: transformers attends piece by piece in a
Python loop unless FlashAttention is there, and a batch of clips has hundreds of pieces a layer (a window of
every frame of every clip). The patch embedding as a matrix product: a convolution whose kernel is as large as
its step is one, and the backward pass of `Conv3d` in bfloat16 is most of a training step on a CPU
(`tests/perf/patch_embedding.py`).
"""

import torch
from torch.nn import functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
    Qwen2_5_VLVisionAttention,
    apply_rotary_pos_emb_vision,
    eager_attention_forward,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLVisionAttention,
    Qwen3VLVisionModel,
)
from transformers.utils.generic import is_flash_attention_requested

VisionTower = Qwen2_5_VisionTransformerPretrainedModel | Qwen3VLVisionModel
PAIRS = 1 << 24  # token pairs a head looks at in one go: what bounds the memory of eager attention


def rows_by_length(lengths: list[int]) -> list[torch.Tensor]:
    """Pieces of `lengths` tokens that lie one behind the other -> indices (pieces, length) of their tokens,
    per length and at most `PAIRS` token pairs (or one piece)."""
    starts: dict[int, list[int]] = {}
    at = 0
    for length in lengths:
        starts.setdefault(length, []).append(at)
        at += length
    found = []
    for length, firsts in starts.items():
        for part in torch.tensor(firsts).split(max(1, PAIRS // max(1, length**2))):
            found.append(part[:, None] + torch.arange(length))
    return found


class ByLength:
    """In front of a backbone's vision attention."""

    def forward(self, hidden_states, cu_seqlens, position_embeddings=None, max_seqlen=None, **kwargs):
        if is_flash_attention_requested(self.config):  # it takes pieces of any length as they are
            return super().forward(
                hidden_states,
                cu_seqlens,
                position_embeddings=position_embeddings,
                max_seqlen=max_seqlen,
                **kwargs,
            )
        count = len(hidden_states)
        query, key, value = self.qkv(hidden_states).reshape(count, 3, self.num_heads, -1).unbind(1)
        query, key = apply_rotary_pos_emb_vision(query, key, *position_embeddings)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        # cu_seqlens (pieces + 1,): where each piece begins. Pieces of one length make a batch (pieces,
        # length).
        groups = [
            rows.to(hidden_states.device)
            for rows in rows_by_length((cu_seqlens[1:] - cu_seqlens[:-1]).tolist())
        ]
        parts = []
        for rows in groups:
            q, k, v = (
                x[rows].transpose(1, 2) for x in (query, key, value)
            )  # (pieces, heads, length, head size)
            out, _ = attend(
                self,
                q,
                k,
                v,
                attention_mask=None,
                scaling=self.scaling,
                dropout=0.0,
                is_causal=False,
                **kwargs,
            )
            parts.append(out.reshape(rows.numel(), -1))
        # Now by length; the inverse permutation puts the tokens back where they came from.
        attended = torch.cat(parts)
        if len(groups) > 1:
            attended = attended[torch.argsort(torch.cat([rows.flatten() for rows in groups]))]
        return self.proj(attended)


class Qwen2_5VisionAttention(ByLength, Qwen2_5_VLVisionAttention):
    pass


class Qwen3VisionAttention(ByLength, Qwen3VLVisionAttention):
    pass


class AsProduct(torch.nn.Conv3d):
    """The convolution of a patch embedding, whose kernel is a patch: (n, channels, t, h, w) -> (n, d). The
    module that has the weight computes with it: under ZeRO-3 it is whole there alone."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input.flatten(1), self.weight.flatten(1), self.bias)


CLASSES = {
    Qwen2_5_VLVisionAttention: Qwen2_5VisionAttention,
    Qwen3VLVisionAttention: Qwen3VisionAttention,
    torch.nn.Conv3d: AsProduct,
}


def streamline(tower: VisionTower) -> None:
    """Let a vision tower embed and attend so; its weights stay what and where they are."""
    # The class is exchanged, not the module: names in checkpoints, hooks and tied parameters stay valid.
    tower.patch_embed.proj.__class__ = CLASSES[type(tower.patch_embed.proj)]
    for block in tower.blocks:
        block.attn.__class__ = CLASSES[type(block.attn)]
