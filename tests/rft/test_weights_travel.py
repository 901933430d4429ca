"""How a trainer's weights are made ready for an engine: merged copies one after the other, the base
untouched, and of LoRA alone what it changes."""

import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch
from conftest import SHIPPED
from torch import nn

from rft.common.trainable import LoraSpec, add_lora, select_trainable
from rft.grpo.transfer import clear, parts_of
from rft.grpo.weights import changing, whole
from tvad.common.lock import own_name
from tvad.model import TvadForConditionalGeneration


def adapted(dtype=torch.bfloat16, trains=(), **spec):
    """(policy with LoRA that has learned something, PEFT's tuner, its start)"""
    model = TvadForConditionalGeneration.from_pretrained(SHIPPED, dtype=dtype)
    start = {name: tensor.detach().clone() for name, tensor in model.engine_weights()}
    select_trainable(model, list(trains))
    tuner = add_lora(model, LoraSpec(**{"layers": 1, **spec}))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.1)
    return model, tuner, start


def test_a_thousand_syncs_leave_a_bfloat16_base_as_it_was_bit_for_bit():
    model, tuner, start = adapted()
    first = {name: tensor.clone() for name, tensor in whole(model, tuner, None, {})}
    moved = {name for name, tensor in first.items() if not torch.equal(tensor, start[name])}
    assert moved and first.keys() == start.keys()
    for _ in range(1000):
        for name, tensor in whole(model, tuner, None, {}, frozenset(moved)):
            assert torch.equal(tensor, first[name])
    base = {name.replace(".base_layer", ""): tensor for name, tensor in model.engine_weights()}
    assert all(torch.equal(base[name], tensor) for name, tensor in start.items())


@pytest.mark.parametrize("trains", [(), ("model.rae.*",)])
def test_with_lora_alone_only_what_it_changes_travels(trains):
    model, tuner, start = adapted(trains=trains)
    last = max(int(n.split(".")[3]) for n in start if n.startswith("model.language_model.layers."))
    block = f"model.language_model.layers.{last}.self_attn."
    # k_proj too: to vLLM q, k and v are one layer.
    wanted = {n for n in start if n.startswith(tuple(f"{block}{p}_proj" for p in "qkv"))}
    beside = {n for n in start if n.startswith("model.rae.")} if trains else set()
    found = changing(model, tuner)
    assert wanted | beside | {"model.ahd.text_features"} <= found
    assert {n for n in found - wanted - beside if not n.startswith("model.ahd.")} == set()
    sent = dict(whole(model, tuner, None, {}, found))
    assert sent.keys() == found
    everything = dict(whole(model, tuner, None, {}))
    changed = {n for n, tensor in everything.items() if not torch.equal(tensor, start[n])}
    assert changed and changed <= found


def test_all_that_trains_travels_where_all_trains():
    model = TvadForConditionalGeneration.from_pretrained(SHIPPED)
    select_trainable(model, ["*"])
    assert changing(model, None) == {name for name, _ in model.engine_weights()}


def test_sharded_weights_are_whole_one_after_the_other():
    """As ZeRO-3 has them: empty but inside the context."""
    model, tuner, _ = adapted(torch.float32)
    expected = {name: tensor.clone() for name, tensor in whole(model, tuner, None, {})}
    most, inside = 0, set()
    real = {id(p): p.data for p in model.parameters()}
    for parameter in model.parameters():
        parameter.data = torch.full_like(parameter, torch.nan)

    @contextmanager
    def gathered(parameters):
        nonlocal most
        inside.update(map(id, parameters))
        most = max(most, len(inside))
        for parameter in (p for p in parameters if id(p) in real):
            parameter.data = real[id(parameter)].clone()
        yield
        for parameter in (p for p in parameters if id(p) in real):
            parameter.data.fill_(torch.nan)
        inside.clear()

    found = dict(whole(model, tuner, None, {}, gathered=gathered))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert 3 <= most <= 4, "a weight, its bias and its two adapters"


def test_parts_hold_no_more_than_they_may():
    weights = [(str(n), torch.full((n + 1, 4), float(n))) for n in range(9)]
    parts = list(parts_of(weights, size=100))
    assert [list(part) for part in parts] == [["0", "1", "2"], ["3"], ["4"], ["5"], ["6"], ["7"], ["8"]]
    assert all(sum(t.nbytes for t in part.values()) <= 100 or len(part) == 1 for part in parts)
    assert all(torch.equal(parts[0][n], dict(weights)[n]) for n in parts[0])
    assert list(parts_of([])) == []


def test_what_a_killed_trainer_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    kept = {f"{own_name()}.safetensors", f"elsewhere-{gone.pid}.safetensors", "mine.safetensors"}
    for name in (f"{here}-{gone.pid}.safetensors", *kept):
        (tmp_path / name).write_bytes(b"")
    clear(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == kept
