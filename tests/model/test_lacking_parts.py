"""A checkpoint without weights that its configuration names: its part would be random, and so would every
score that it gives."""

import json
import shutil

import pytest
from conftest import untrained
from safetensors.torch import load_file, save_file

from bench.models.hf import HfModel
from rft.grpo.weights import loaded
from tvad.common.errors import InputError
from tvad.model.start import load, start_from


class Float32:
    bf16, deepspeed_plugin = False, None


WAYS = {
    "tvad": load,
    "bench": HfModel.open,
    "curriculum": start_from,
    "grpo": lambda path: loaded(path, Float32()),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return untrained("tiny.yaml", tmp_path_factory.mktemp("classifier"), use_classifier=True)


def changed(whole, folder, weights=lambda w: w, **config):
    shutil.copytree(whole, folder)
    save_file(weights(load_file(whole / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    own = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(own | config))
    return str(folder)


@pytest.mark.parametrize("way", WAYS)
def test_a_part_that_is_not_there_or_of_another_size_is_refused(way, whole, tmp_path):
    WAYS[way](str(whole))
    for part in ("classifier", "ahd", "rae"):
        without = changed(
            whole, tmp_path / part, lambda w, p=part: {k: v for k, v in w.items() if f"model.{p}." not in k}
        )
        with pytest.raises(InputError, match=rf"{part}: its weights lack model\.{part}\."):
            WAYS[way](without)
    one = changed(
        whole, tmp_path / "one", lambda w: {k: v for k, v in w.items() if "classifier.out.bias" not in k}
    )
    with pytest.raises(InputError, match=r"lack model\.classifier\.out\.bias and 0 more"):
        WAYS[way](one)
    narrow = changed(whole, tmp_path / "narrow", classifier_hidden=64)
    with pytest.raises(InputError, match=r"model\.classifier\.hidden\.bias is of \[256\].* be of \[64\]"):
        WAYS[way](narrow)


@pytest.mark.parametrize("family", ["qwen25vl", "llava_ov"])
def test_a_stock_checkpoint_that_lacks_a_weight_is_refused(family, families, tmp_path):
    HfModel.open(str(families / family))
    shutil.copytree(families / family, tmp_path / "less")
    file = tmp_path / "less" / "model.safetensors"
    weights = load_file(file)
    name = next(n for n in sorted(weights) if n.endswith("down_proj.weight"))
    save_file({n: w for n, w in weights.items() if n != name}, file, {"format": "pt"})
    with pytest.raises(InputError, match=r"less: its weights lack .*down_proj\.weight and 0 more"):
        HfModel.open(str(tmp_path / "less"))
    if family == "qwen25vl":
        with pytest.raises(InputError, match=r"less: its weights lack .*down_proj\.weight and 0 more"):
            start_from(str(tmp_path / "less"))
