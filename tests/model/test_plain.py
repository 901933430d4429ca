"""A model without AHD and RAE leaves as a plain Qwen-VL checkpoint: other people's programs load it, and it
says the same."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SHIPPED
from safetensors import safe_open
from stock_checkpoint import build_stock
from transformers import AutoModelForImageTextToText, AutoProcessor

from tvad.__main__ import main
from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data import load, video
from tvad.prompts import messages

# As somebody does who has never heard of this project.
STRANGER = """
import sys, torch
import numpy as np
from transformers import AutoModelForImageTextToText, AutoProcessor
folder, given, out = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
processor = AutoProcessor.from_pretrained(folder)
data = np.load(given)
text = str(data["text"])
inputs = processor(text=[text], videos=[torch.from_numpy(data["clip"])], do_sample_frames=False,
                   video_metadata=[dict(total_num_frames=8, fps=2.0, frames_indices=list(range(8)))],
                   return_tensors="pt")
# Behind a clip this library counts positions otherwise than the published code, vLLM and T-VAD do.
with torch.no_grad():
    logits = model(**inputs, position_ids=torch.from_numpy(data["positions"])).logits
np.savez(out, logits=logits.float().numpy(), ids=inputs["input_ids"].numpy())
assert not any(name.split(".")[0] in ("tvad", "rft", "bench") for name in sys.modules)
print(type(model).__name__, type(processor).__name__)
"""


def names_of(folder):
    found = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= set(file.keys())
    return found


def test_a_trained_backbone_leaves_in_the_layout_that_it_came_in(scenes, tmp_path):
    stock = build_stock(tmp_path / "stock")
    start = ["start", "--backbone", str(stock), "--out", str(tmp_path / "start")]
    assert main([*start, "--without-ahd", "--without-rae"]) == 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "start", dtype="auto").eval()
    with torch.no_grad():  # as if it had been trained
        torch.nn.init.normal_(model.model.language_model.layers[0].mlp.up_proj.weight, std=0.1)
    processor = AutoProcessor.from_pretrained(tmp_path / "start")
    model.save_pretrained(tmp_path / "trained")
    processor.save_pretrained(tmp_path / "trained")
    assert main(["plain", "--model", str(tmp_path / "trained"), "--out", str(tmp_path / "plain")]) == 0
    config = json.loads((tmp_path / "plain/config.json").read_text())
    assert config["model_type"] == "qwen2_5_vl" and config["dtype"] == "bfloat16"
    assert not any(name.startswith(("ahd", "rae", "use_", "anomaly", "tvad", "text_pr")) for name in config)
    assert names_of(tmp_path / "plain") == names_of(stock)

    clip = video.decode(load(scenes)[0].clip(), 2.0, 8)
    text = chat(processor, messages("What happens?"))
    frames = np.ascontiguousarray(clip.images.transpose(0, 3, 1, 2))
    assert len(frames) == 8
    inputs = processor.encode([text], [clip])
    inputs.pop("mm_token_type_ids", None)
    grids = {key: inputs[key] for key in ("video_grid_thw", "second_per_grid_ts")}
    positions = model.model.get_rope_index(inputs["input_ids"], **grids)[0]
    np.savez(tmp_path / "given.npz", clip=frames, text=text, positions=positions.numpy())
    command = [sys.executable, "-c", STRANGER, str(tmp_path / "plain"), str(tmp_path / "given.npz")]
    done = subprocess.run([*command, str(tmp_path / "out.npz")], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor"]
    theirs = np.load(tmp_path / "out.npz")
    with torch.no_grad():
        ours = model.float()(**inputs).logits.float().numpy()
    assert (theirs["ids"] == inputs["input_ids"].numpy()).all()
    shown = ours > -1e3  # tokens that T-VAD never says
    assert shown.mean() > 0.98 and abs(ours - theirs["logits"])[shown].max() < 1e-4


def test_a_model_with_ahd_or_rae_is_no_plain_one(tmp_path):
    with pytest.raises(InputError, match="has AHD and RAE, which a plain Qwen-VL checkpoint has not"):
        main(["plain", "--model", str(SHIPPED), "--out", str(tmp_path / "plain")])
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize("family", ["tiny-qwen3.yaml"])
def test_qwen3_leaves_the_same_way(family, tmp_path):
    from conftest import ROOT

    from tvad.model.plain import plain
    from tvad.model.tiny import build

    model, processor = build(ROOT / "configs/model" / family, use_ahd=False, use_rae=False)
    bare, own = plain(model, processor, "here")
    bare.save_pretrained(tmp_path)
    own.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert type(again).__name__ == "Qwen3VLForConditionalGeneration"
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, again(input_ids=ids).logits
    assert torch.equal(ours[ours > -1e3], theirs[ours > -1e3])
