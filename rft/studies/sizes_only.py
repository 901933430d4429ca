"""What the memory tracker's step is made of in place of real things: tensors of sizes alone, kernels as a
GPU's, linear layers in four bits as bitsandbytes holds them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest import mock

import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves, tree_map

from tvad.model.branched import Layout


class SizesOnly(FakeTensorMode):
    """Fake tensors beside real ones: what a program reads (grids, places, masks) has values, what takes
    memory has only a size. While `everything` is set, all is fake: the model is made so."""

    def __init__(self):
        super().__init__(allow_non_fake_inputs=True)
        self.everything = True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if any(isinstance(tensor, FakeTensor) for tensor in tensors):
            if func is torch.ops.aten.index.Tensor:
                args = (args[0], _places(args[1]))
            args, kwargs = tree_map(self._beside, (args, kwargs))
        elif not self.everything:
            return func(*args, **kwargs)
        # Some operations are taken apart: what they make on the way has no contents either.
        outer, self.everything = self.everything, True
        try:
            return super().__torch_dispatch__(func, types, args, kwargs)
        finally:
            self.everything = outer

    def _beside(self, value):
        if isinstance(value, torch.Tensor) and not isinstance(value, FakeTensor):
            return FakeTensor(self, value.detach().to("meta"), torch.device("cpu"))
        return value


def _places(indices: list[torch.Tensor | None]) -> list[torch.Tensor | None]:
    """Indices of a tensor, a mask as the places that it selects: how many, its contents say."""
    found: list[torch.Tensor | None] = []
    for index in indices:
        if index is not None and index.dtype == torch.bool and not isinstance(index, FakeTensor):
            found += index.nonzero().unbind(1)
        else:
            found.append(index)
    return found


class _Fused(torch.autograd.Function):
    """Attention as a GPU's fused kernels keep it: inputs, output, a number a row and head; no scores."""

    @staticmethod
    def forward(ctx, query, key, value, mask):
        out = torch.empty_like(query)
        bias = (
            [] if mask is None else [query.new_empty(mask.shape)]
        )  # SDPA adds a mask of booleans as numbers
        ctx.save_for_backward(
            query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32), *bias
        )
        return out

    @staticmethod
    def backward(ctx, gradient):
        query, key, value = ctx.saved_tensors[:3]
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


@contextmanager
def as_on(device: str) -> Iterator[None]:
    """What a CPU device of fake tensors does otherwise than a GPU: attention's kernel, and normalisations,
    which autocast computes in float32 there. (The tracker puts hooks on frozen weights too, which take
    none.)"""
    normal = F.layer_norm
    hooks = {n: getattr(torch.Tensor, n) for n in ("register_hook", "register_post_accumulate_grad_hook")}

    def attention(query, key, value, attn_mask=None, **_):
        return _Fused.apply(query, key, value, attn_mask)

    def hooked(hook):
        return lambda x, call: hook(x, call) if x.requires_grad else SimpleNamespace(remove=lambda: None)

    with ExitStack() as stack:
        put = stack.enter_context
        put(mock.patch.multiple(torch.Tensor, **{name: hooked(hook) for name, hook in hooks.items()}))
        if device == "cuda":
            put(mock.patch.object(F, "scaled_dot_product_attention", attention))
            put(mock.patch.object(Layout, "worthwhile", False))  # packed rows have the whole mask on a GPU
            put(
                mock.patch.object(
                    F, "layer_norm", lambda x, *rest, **named: normal(x.float(), *rest, **named)
                )
            )
        yield


class _Unpacked(torch.autograd.Function):
    """A product with weights that are made whole for its time, as bitsandbytes' MatMul4Bit: kept are the
    packed ones."""

    @staticmethod
    def forward(ctx, x, packed, shape):
        ctx.save_for_backward(packed)
        ctx.shape = shape
        return x @ x.new_empty(shape).t()

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ gradient.new_empty(ctx.shape), None, None


class FourBit(nn.Linear):
    """What a linear layer in NF4 takes: half a byte a weight, a byte a block of 64 for its scale."""

    def __init__(self, layer: nn.Linear):
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        count = layer.weight.numel()
        packed = layer.weight.new_empty(count // 2 + count // 64, dtype=torch.uint8)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = _Unpacked.apply(x.bfloat16(), self.weight, (self.out_features, self.in_features))
        return (out if self.bias is None else out + self.bias.to(out.dtype)).to(x.dtype)
