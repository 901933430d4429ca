"""Attention of packed rows (`tvad.model.packing`) that compares no branch with another: of a group of 32
completions a mask of L x L hides seven of eight pairs of tokens, which are computed all the same.

For `scaled_dot_product_attention` on a CPU; elsewhere packed rows have that mask.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

PER_TOKEN = 256  # what a token costs beside, in pairs of tokens (`tests/perf/branched.py`)
# What `scaled_dot_product_attention` calls on a CPU. Beside its output it returns the log of every row's sum
# of exponents, which that keeps to itself.
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Layout:
    """Where the prefixes, at most P tokens, and N branches, at most n, of packed rows (B, L) lie.

    hidden (B, 1, 1, P): -inf for those of a row's first P tokens that are not its prefix, else 0; None where
    all are. branches (N, n): a branch's tokens in B L, and others behind its own; own (N, n): which are its
    own. back (B, L): a token's place in N n, and N n for one that is in no branch."""

    prefix: int
    hidden: torch.Tensor | None
    branches: torch.Tensor
    own: torch.Tensor
    back: torch.Tensor

    @classmethod
    def of(cls, segment: torch.Tensor, step: torch.Tensor) -> "Layout | None":
        """Of rows as `Packed` holds them; None without branches, and where a row has no prefix."""
        count, length = segment.shape
        prefixes = (segment == 0).sum(1)
        most = int(segment.max())
        if most < 1 or int(prefixes.min()) == 0:
            return None
        prefix = int(prefixes.max())
        other = torch.arange(prefix) >= prefixes[:, None]
        hidden = torch.zeros(count, prefix).masked_fill(other, -torch.inf)[:, None, None]
        sizes = (segment[:, :, None] == torch.arange(1, most + 1)).sum(1)  # (B, most)
        starts = prefixes[:, None] + sizes.cumsum(1) - sizes
        rows, which = sizes.nonzero(as_tuple=True)
        within = torch.arange(int(sizes.max()))
        places = (starts[rows, which, None] + within).clamp(max=length - 1)
        number = torch.zeros_like(sizes)
        number[rows, which] = torch.arange(len(rows))
        back = number.gather(1, (segment - 1).clamp(min=0)) * len(within) + step
        return cls(
            prefix,
            hidden if bool(other.any()) else None,
            rows[:, None] * length + places,
            within < sizes[rows, which, None],
            back.masked_fill(segment < 1, places.numel()),
        )

    @property
    def worthwhile(self) -> bool:
        """Whether it costs less than a mask of L x L."""
        count, length = self.back.shape
        branches, size = self.branches.shape
        pairs = count * self.prefix * (length - self.prefix / 2) + branches * size**2 / 2
        return pairs + count * length * PER_TOKEN < count * length**2

    def part(self, x: torch.Tensor) -> torch.Tensor:
        """(B, heads, L, d) -> the branches' (N, heads, n, d)."""
        return x.transpose(1, 2).flatten(0, 1)[self.branches].transpose(1, 2)

    def join(self, x: torch.Tensor, rest: float = 0.0) -> torch.Tensor:
        """(N, heads, n, d) -> (B, heads, L, d), `rest` for tokens of no branch."""
        flat = F.pad(x.transpose(1, 2).flatten(0, 1), (0, 0, 0, 0, 0, 1), value=rest)
        return flat[self.back].transpose(1, 2)


class Branched(torch.autograd.Function):
    """Two attentions without a mask of L x L: of all tokens over their prefix, of each branch over itself.

    Their outputs are weighted by their sums of exponents, as FlashAttention's are of blocks of keys (arXiv
    2205.14135, algorithm 1), and the gradient of each is that of a block (algorithm 4)."""

    @staticmethod
    def forward(ctx, query, key, value, layout: Layout, scale: float | None):
        """(B, heads, L, d) each -> (B, heads, L, d)."""
        hidden = None if layout.hidden is None else layout.hidden.to(query.dtype)
        # "Causal" is aligned at the first key: a token behind the prefix sees all of it.
        ahead = (x[:, :, : layout.prefix] for x in (key, value))
        out, sums = _flash(query, *ahead, 0.0, True, attn_mask=hidden, scale=scale)
        parts = [layout.part(x) for x in (query, key, value)]
        own_out, own_sums = _flash(*parts, 0.0, True, scale=scale)
        joined = layout.join(own_sums[..., None], -torch.inf)[..., 0]
        whole = torch.logaddexp(sums, joined)
        out = out * (sums - whole).exp()[..., None] + layout.join(own_out) * (joined - whole).exp()[..., None]
        out = out.to(query.dtype)
        ctx.save_for_backward(query, key, value, out, whole, own_sums)
        ctx.layout, ctx.hidden, ctx.scale = layout, hidden, scale
        return out

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, out, whole, own_sums = ctx.saved_tensors
        layout = ctx.layout
        ahead = (x[:, :, : layout.prefix] for x in (key, value))
        by_query, *by_prefix = _flash_backward(
            gradient, query, *ahead, out, whole, 0.0, True, attn_mask=ctx.hidden, scale=ctx.scale
        )
        # What fills a branch up has no gradient, and its own sums: others' could be far below its scores.
        own = layout.own[:, None, :, None]
        parts = [layout.part(x) for x in (gradient, query, key, value, out, whole[..., None])]
        sums = torch.where(own[..., 0], parts.pop()[..., 0], own_sums)
        own_query, *own_pair = _flash_backward(parts[0] * own, *parts[1:], sums, 0.0, True, scale=ctx.scale)
        by_key, by_value = (
            F.pad(first, (0, 0, 0, query.shape[2] - layout.prefix)) + layout.join(second)
            for first, second in zip(by_prefix, own_pair, strict=True)
        )
        return by_query + layout.join(own_query), by_key, by_value, None, None


class Apart(torch.Tensor):
    """The mask of packed rows that says how to attend, as PyTorch's `CausalBias` does: where it is given to
    `scaled_dot_product_attention`, `Branched` is. It holds no values."""

    rows: Layout

    def __new__(cls, layout: Layout):
        # Of four axes, as masks are that transformers hands on as they are.
        found = torch.Tensor._make_subclass(cls, torch.empty(len(layout.back), 1, 1, 0, dtype=torch.bool))
        found.rows = layout
        return found

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            if func is F.scaled_dot_product_attention:
                return _attend(*args, **(kwargs or {}))
            return func(*args, **(kwargs or {}))


def _attend(query, key, value, attn_mask: Apart, dropout_p=0.0, is_causal=False, scale=None) -> torch.Tensor:
    """`scaled_dot_product_attention` with a mask `Apart`. Raises NotImplementedError for dropout."""
    if dropout_p or is_causal:
        raise NotImplementedError(f"packed rows, dropout {dropout_p}, causal {is_causal}: expected neither")
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    return Branched.apply(query, key, value, attn_mask.rows, scale)
