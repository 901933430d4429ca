"""Muon for the matrices of transformer layers, AdamW for everything else, as one optimiser.

Muon (Jordan et al., 2024; torch.optim.Muon) orthogonalises a matrix's step. A tower that starts from nothing
learns from fewer clips with it (docs/measurements.md); embeddings, norms, biases and heads are not its
business.
"""

import torch
from torch import nn

from tvad.common.errors import InputError

STACKS = (".blocks.", ".layers.")  # what holds a tower's or a language model's layers


class Together(torch.optim.Optimizer):
    """Several optimisers that step as one: their groups in a row, so that one schedule drives all."""

    def __init__(self, parts: list[torch.optim.Optimizer]):
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})

    def add_param_group(self, param_group):
        self.param_groups.append(
            param_group
        )  # the part's own, not a copy: what a schedule writes into it, the part reads

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self):
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict):
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        # Loading gives the parts new groups; a schedule must go on writing into those.
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def muon_and_adamw(model: nn.Module, lr: float, args) -> Together:
    """`lr`: Muon's learning rate; AdamW's and both weight decays are those of the TrainingArguments `args`.
    Raises InputError where no matrix of a layer trains."""
    training = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    matrices = [p for name, p in training if p.ndim == 2 and any(stack in name for stack in STACKS)]
    if not matrices:
        raise InputError(
            "muon: no matrix of a layer trains here (or its weights are sharded); leave muon out"
        )
    taken = {id(p) for p in matrices}
    rest = [p for _, p in training if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": args.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        groups, lr=args.learning_rate, betas=(args.adam_beta1, args.adam_beta2), eps=args.adam_epsilon
    )
    return Together([torch.optim.Muon(matrices, lr=lr, weight_decay=args.weight_decay, momentum=0.95), adamw])
