"""What a stage trains, counted, the proof that nothing else changed, and how far what trained has gone."""

import torch


class Frozen:
    """A copy of all that does not train, on the CPU: parameters without a gradient and AHD's text features;
    and, for a `blend`, of what trains. Taken before LoRA and token rows are put in."""

    def __init__(self, model: torch.nn.Module, blends: bool = False):
        self.trained = {
            name: p.detach().to("cpu", copy=True)
            for name, p in model.named_parameters()
            if p.requires_grad and blends
        }
        self.parameters = {
            name: p.detach().to("cpu", copy=True)
            for name, p in model.named_parameters()
            if not p.requires_grad
        }
        self.buffers = {
            name: b.to("cpu", copy=True)
            for name, b in model.named_buffers()
            if name.endswith("text_features")
        }

    def check(self, stage: str, model, adapted: list[str], rows: list[int]) -> None:
        """Raise RuntimeError where a merged model differs bit by bit from what it was, but for the weights of
        the layers `adapted` by LoRA and the `rows` of the embedding."""
        free = {f"{name}.weight" for name in adapted}
        for name, parameter in model.named_parameters():
            if name not in self.parameters or name in free:
                continue
            same = parameter.detach().cpu() == self.parameters[name]
            # same (V, D): the rows of the three tokens are what this stage trains of the table.
            if name.endswith("embed_tokens.weight") and rows:
                same[rows] = True
            if not bool(same.all()):
                raise RuntimeError(
                    f"stage {stage}: {name} changed, but it is not among what this stage trains"
                )
        for name, value in model.named_buffers():
            if name in self.buffers and not torch.equal(value.cpu(), self.buffers[name]):
                raise RuntimeError(f"stage {stage}: the text features changed during training")

    @torch.no_grad()
    def blend(self, model, share: float) -> None:
        """Leave of the way that a merged model's weights have gone this share (WiSE-FT): weights that have
        not changed stay bit by bit."""
        before = self.parameters | self.trained
        for name, parameter in model.named_parameters():
            old = before[name].to(parameter.device).float()  # a difference in bfloat16 would be rounded
            parameter.copy_(old + share * (parameter.float() - old))


def summary(model: torch.nn.Module) -> list[tuple[str, int, int]]:
    """What trains, by module: (module, parameters, of these training)."""
    groups: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        group = ".".join(parts[:2]) if parts[0] == "model" else parts[0]
        counts = groups.setdefault(group + (" (LoRA)" if "lora_" in name else ""), [0, 0])
        counts[0] += parameter.numel()
        counts[1] += parameter.numel() if parameter.requires_grad else 0
    return [(group, total, training) for group, (total, training) in groups.items()]


def table(rows: list[tuple[str, int, int]]) -> str:
    """A summary as lines of text."""
    lines = [f"  {'module':34s} {'parameters':>14s} {'training':>14s}"]
    return "\n".join(
        [*lines, *(f"  {group:34s} {total:14,d} {training:14,d}" for group, total, training in rows)]
    )
