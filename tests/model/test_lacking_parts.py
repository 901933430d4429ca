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
