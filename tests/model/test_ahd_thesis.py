"""The heatmap decoder of T-VAD's precursor, its first author's thesis: equal to the values of its published
code, read from a folder of Qwen2.5-VL's layout and from a .pth, which is trusted with nothing but tensors."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import trl
from conftest import ROOT, SHIPPED, golden
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
)
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from tvad.__main__ import main as tvad
from tvad.common import cli
from tvad.model import precursor
from tvad.model.ahd import heatmap, to_raster
from tvad.model.ahd_thesis import ThesisHeatmapDecoder, ours
from tvad.model.configuration import ANOMALY_TOKENS, EARLIER_TOKENS, relative_layers
from tvad.model.start import load, start_from

BLOCKS = relative_layers(32, "thesis")
WIDTH, DEPTH = 64, 4


def case(name):
    with np.load(golden("ahd_thesis/ahd.npz")) as file:
        return {k.removeprefix(f"{name}/"): torch.from_numpy(file[k]) for k in file if k[0] == name}


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_shipped_decoder_gives_the_values_of_the_published_code(name):
    given = case(name)
    grid = tuple(given["grid_thw"].tolist())
    features = [to_raster(given[f"block_{i}"], given["window_index"], *grid, merge=2) for i in BLOCKS]
    decoder = ThesisHeatmapDecoder(features[0].shape[1], given["text"].shape[2], len(BLOCKS))
    precursor.put_in(ours({k: v for k, v in given.items() if k.startswith("weights/")}), decoder)
    decoder.text_features.copy_(given["text"][0])
    wanted = given["logits"].permute(0, 2, 3, 1).reshape(-1, 2)
    for again in (torch.enable_grad, torch.no_grad):  # at once, and in parts
        with again():
            found = decoder(features, [grid])
            # 1e-5 of a cosine; logits are a hundred times that.
            torch.testing.assert_close(found.maps, wanted / 100, rtol=0, atol=1e-5)
            torch.testing.assert_close(found.logits, wanted, rtol=1e-5, atol=1e-3)
            torch.testing.assert_close(heatmap(found.logits, *grid), given["heatmap"], rtol=0, atol=1e-5)
            # Two clips in one batch are what they are alone: a column's norm stays within its clip.
            twice = decoder([torch.cat([f, f.flip(0)]) for f in features], [grid, grid])
            torch.testing.assert_close(twice.logits[: len(wanted)], found.logits)


@pytest.fixture(scope="module")
def weights():
    """A decoder of the tiny sizes by the published names, with weights that show."""
    torch.manual_seed(3)
    sizes = {"0": (1024, WIDTH), "2": (WIDTH, 1024)}
    found = {"model.anomaly_maps_decoder.fuse_weights": torch.randn(5)}
    for i in range(5):
        for j, size in sizes.items():
            found[f"model.anomaly_maps_decoder.mlps.{i}.model.{j}.weight"] = torch.randn(size) * 0.1
            found[f"model.anomaly_maps_decoder.mlps.{i}.model.{j}.bias"] = torch.randn(size[0]) * 0.1
    return found


@pytest.fixture(scope="module")
def stock(tmp_path_factory) -> Path:
    """A Qwen2.5-VL checkpoint that this project did not make: transformers' classes, the published chat
    template."""
    folder = tmp_path_factory.mktemp("stock")
    known = json.loads((SHIPPED / "tokenizer.json").read_text())
    known["added_tokens"] = [t for t in known["added_tokens"] if t["content"] not in EARLIER_TOKENS]
    for name in EARLIER_TOKENS:
        known["model"]["vocab"][f"unused {name}"] = known["model"]["vocab"].pop(name)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(known)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    config = Qwen2_5_VLConfig(
        text_config=dict(
            hidden_size=WIDTH,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            vocab_size=704,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 6, 6]},
        ),
        vision_config=dict(
            depth=DEPTH,
            hidden_size=WIDTH,
            intermediate_size=128,
            out_hidden_size=WIDTH,
            num_heads=4,
            fullatt_block_indexes=[1],
            window_size=56,
        ),
        image_token_id=5,
        video_token_id=6,
        vision_start_token_id=3,
        vision_end_token_id=4,
    )
    torch.manual_seed(0)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    size = {"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    template = Path(trl.__file__).parent / "chat_templates/qwen2_5_vl.jinja"
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size),
        tokenizer,
        Qwen2VLVideoProcessor(size=size),
        chat_template=template.read_text(),
    ).save_pretrained(folder)
    return folder


def same(decoder, weights) -> bool:
    state = decoder.state_dict()
    return all(torch.equal(state[name], tensor) for name, tensor in ours(weights).items())


def test_a_folder_of_the_precursor_loads_with_its_decoder_tokens_and_rows(stock, weights, tmp_path):
    folder = shutil.copytree(stock, tmp_path / "precursor")
    tensors = load_file(folder / "model.safetensors")
    rows = torch.randn(3, WIDTH)
    name = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": list(ANOMALY_TOKENS)})
    tokenizer.save_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids(list(ANOMALY_TOKENS))
    tensors[name][ids] = rows
    save_file(tensors | weights, folder / "model.safetensors", {"format": "pt"})
    model, _ = start_from(str(folder))
    assert model.config.form == {
        "rae_input": "classes",
        "prompt_order": "video_first",
        "ahd_layout": "thesis",
        "prompt_features": "embeddings",
    }
    assert same(model.model.ahd, weights) and model.config.ahd_layers == [0, 0, 1, 2, 3]
    assert torch.equal(model.get_input_embeddings().weight[ids], rows)
    paper, _ = start_from(str(folder), ahd_layout="paper")
    assert type(paper.model.ahd) is not type(model.model.ahd)


def test_a_pth_becomes_safetensors_and_a_checkpoint_with_heatmaps(stock, weights, tmp_path, capsys):
    rest = {"model.anomaly_encoder.base": torch.zeros(3)}
    torch.save({"state_dict": weights | rest, "epoch": 4}, tmp_path / "thesis.pth")
    called = [
        "convert",
        "--weights",
        str(tmp_path / "thesis.pth"),
        "--out",
        str(tmp_path / "thesis.safetensors"),
    ]
    assert cli.guard(tvad, called) == 0
    assert "21 tensors" in (said := capsys.readouterr().out) and "1 other" in said
    assert load_file(tmp_path / "thesis.safetensors").keys() == weights.keys()
    prompts = ["--prompts", str(ROOT / "configs/prompts/surveillance.yaml")]
    made = ["--decoder", str(tmp_path / "thesis.safetensors"), "--out", str(tmp_path / "start")]
    assert cli.guard(tvad, ["start", "--backbone", str(stock), *made, *prompts]) == 0
    model, processor = load(str(tmp_path / "start"))
    assert same(model.model.ahd, weights) and len(model.config.text_prompts["abnormal"]) == 24
    means = [
        model.get_input_embeddings()(processor.tokenizer(t, return_tensors="pt")["input_ids"])[0].mean(0)
        for t in model.config.text_prompts["normal"]
    ]
    assert torch.allclose(model.model.ahd.text_features[0], torch.stack(means).mean(0), atol=1e-6)


class Runs:
    """A pickle that writes a file when it is read."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (Path.write_text, (self.file, "executed"))


@pytest.mark.parametrize("protocol", ["torch", "zip of torch", "pickle"])
def test_a_malicious_pth_is_refused_in_one_line_and_not_executed(protocol, weights, tmp_path, capsys):
    file, marker = tmp_path / "bad.pth", tmp_path / "executed"
    data = {"state_dict": weights | {"model.anomaly_maps_decoder.extra": Runs(marker)}}
    if protocol == "pickle":
        file.write_bytes(pickle.dumps(Runs(marker)))
    else:
        torch.save(data, file, _use_new_zipfile_serialization=protocol != "torch")
    out = tmp_path / "out.safetensors"
    assert cli.guard(tvad, ["convert", "--weights", str(file), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "bad.pth: refused: it holds more than tensors" in error
    assert not marker.exists() and not out.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"state_dict": {"a": 1}}, "'a' is no tensor but int"),
        ({"a": torch.zeros(1)}, "holds no tensor named"),
        ([torch.zeros(1)], "expected a mapping of names to tensors"),
    ],
)
def test_what_is_no_decoder_is_refused_by_name(data, words, tmp_path, capsys):
    torch.save(data, tmp_path / "x.pth")
    assert (
        cli.guard(
            tvad, ["convert", "--weights", str(tmp_path / "x.pth"), "--out", str(tmp_path / "x.safetensors")]
        )
        == 2
    )
    assert words in capsys.readouterr().err and not (tmp_path / "x.safetensors").exists()


def test_a_decoder_of_another_backbone_is_refused(stock, weights, tmp_path, capsys):
    wide = {name: torch.zeros(1024, 80) if ".0.weight" in name else t for name, t in weights.items()}
    save_file(wide, tmp_path / "wide.safetensors")
    made = ["--decoder", str(tmp_path / "wide.safetensors"), "--out", str(tmp_path / "start")]
    assert cli.guard(tvad, ["start", "--backbone", str(stock), *made]) == 2
    assert "mlps.0.0.weight is (1024, 80), expected (1024, 64)" in capsys.readouterr().err


NAME = "model.anomaly_maps_decoder.fuse_weights"
FOREIGN = {
    "one value stretched": lambda: torch.ones(1).expand(12_000_000_000),
    "strides of 0": lambda: torch.ones(4).as_strided((1 << 40, 4), (0, 1)),
    "no values": lambda: torch.empty(10**12, device="meta"),
    "sparse": lambda: torch.eye(4).to_sparse(),
    "complex": lambda: torch.ones(4, dtype=torch.complex128),
    "truth values": lambda: torch.ones(4, dtype=torch.bool),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FOREIGN)
def test_tensors_that_are_no_plain_weights_are_refused_by_name(kind, tmp_path, capsys):
    torch.save({NAME: FOREIGN[kind]()}, tmp_path / "x.pth")
    out = tmp_path / "x.safetensors"
    assert cli.guard(tvad, ["convert", "--weights", str(tmp_path / "x.pth"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert NAME in said and len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.pth"]


def test_a_pth_that_was_packed_again_is_refused_and_not_mapped_as_it_lies(weights, tmp_path, capsys):
    """torch maps the packed bytes as if they were the weights, and says nothing."""
    torch.save(weights, tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))
    out = tmp_path / "x.safetensors"
    assert cli.guard(tvad, ["convert", "--weights", str(tmp_path / "x.pth"), "--out", str(out)]) == 2
    assert "x.pth: is compressed" in capsys.readouterr().err and not out.exists()


def test_names_that_share_memory_are_each_written(tmp_path):
    table = torch.randn(8, 4)
    torch.save({f"{NAME}.{n}": part for n, part in enumerate((table, table, table[2:4]))}, tmp_path / "x.pth")
    assert precursor.convert(tmp_path / "x.pth", tmp_path / "x.safetensors") == (3, 0)
    found = load_file(tmp_path / "x.safetensors")
    assert torch.equal(found[f"{NAME}.0"], table) and torch.equal(found[f"{NAME}.2"], table[2:4])
