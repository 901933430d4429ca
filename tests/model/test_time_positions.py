"""Both engines put a clip's video tokens at the same times: positions of vLLM's own code and of ours,
compared directly over odd rates, lengths, caps and sizes, whatever type the weights have."""

import itertools

import numpy as np
import pytest
import torch
from conftest import ROOT
from transformers import AutoConfig, AutoProcessor
from transformers.feature_extraction_utils import BatchFeature
from transformers.video_utils import VideoMetadata
from vllm_positions import placed

from tvad.data.video import Frames, sample_indices
from tvad.model.modeling import untrained

pytest.importorskip("vllm")

RATES = (24, 25, 30, 30000 / 1001, 24000 / 1001, 12.5, 10, 7, 59.94)  # of files, frames a second
SAMPLED = ((2.0, 64), (2.0, 8), (1.0, 40), (3.0, 33), (0.7, 16), (None, 21))  # rate, most frames
TEXT = "hi <|vision_start|><|video_pad|><|vision_end|>what happens?"


def clip(fps, total, rate, most, height=28, width=28) -> Frames:
    indices = sample_indices(total, fps, rate, most)
    indices = np.repeat(indices, 2)[:2] if len(indices) < 2 else indices
    images = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (len(indices), height, width, 3))
    return Frames(images, indices / fps, indices, fps, total)


class Engine:
    """What of vLLM makes positions, without weights: its processor and its model's code."""

    def __init__(self, folder, dtype: str):
        from vllm.config import ModelConfig
        from vllm.multimodal import MULTIMODAL_REGISTRY

        from tvad.model import vllm_model
        from tvad.model.vllm_plugin import register

        register()
        limits = {"video": 1, "image": 0}
        named = ModelConfig(str(folder), dtype=dtype, max_model_len=4096, limit_mm_per_prompt=limits)
        self.processor = MULTIMODAL_REGISTRY.create_processor(named)
        config = AutoConfig.from_pretrained(folder)
        self.model = object.__new__(getattr(vllm_model, config.architectures[0]))
        torch.nn.Module.__init__(self.model)
        self.model.config = config

    def asked(self, clip: Frames) -> tuple[list[int], torch.Tensor]:
        """Ids (n,) of a prompt and their positions (3, n)."""
        ids = self.processor.info.get_tokenizer().encode(TEXT)
        return placed(self.processor, self.model, ids, clip)


def ours(model, processor, clip: Frames) -> tuple[list[int], torch.Tensor]:
    vision = processor.vision_inputs([clip])
    text = processor.expand(TEXT, vision["video_grid_thw"][0], clip)
    ids = processor.tokenizer(text)["input_ids"]
    seconds = vision["second_per_grid_ts"]
    rows, grids = torch.tensor([ids]), vision["video_grid_thw"]
    return ids, model.model.get_rope_index(rows, video_grid_thw=grids, second_per_grid_ts=seconds)[0][:, 0]


@pytest.fixture(scope="module", params=["checkpoint", "checkpoint_qwen3"])
def both(request):
    """The processor and the model of ours, and the checkpoint's folder."""
    folder = request.getfixturevalue(request.param)
    with torch.device("meta"):
        model = untrained(AutoConfig.from_pretrained(folder))
    return model, AutoProcessor.from_pretrained(folder), folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_engines_put_a_clip_at_the_same_times(both, dtype):
    model, processor, folder = both
    engine = Engine(folder, dtype)
    sizes = itertools.cycle([(28, 28), (64, 112), (240, 320), (90, 51)])
    rng = np.random.default_rng(0)
    for (fps, (rate, most)), size in zip(itertools.product(RATES, SAMPLED), sizes, strict=False):
        shown = clip(fps, int(rng.integers(4, 6000)), rate, most, *size)
        mine, theirs = ours(model, processor, shown), engine.asked(shown)
        assert mine[0] == theirs[0], (fps, rate, most, size, len(shown.images))
        assert torch.equal(mine[1], theirs[1]), (fps, rate, most, size, len(shown.images))


def test_thousands_of_clips_agree_in_bfloat16():
    """Without pixels: only what positions are made of, as it comes out of vLLM's processor."""
    from vllm.multimodal.inputs import MultiModalFeatureSpec, MultiModalKwargsItem, PlaceholderRange
    from vllm.multimodal.inputs import MultiModalFieldElem as Elem

    folder = ROOT / "assets/tvad-tiny"
    engine = Engine(folder, "bfloat16")
    with torch.device("meta"):
        model = untrained(AutoConfig.from_pretrained(folder))
    config, field = model.config, engine.processor._get_mm_fields_config(BatchFeature(), {})
    before = [config.anomaly_start_token_id, config.anomaly_end_token_id]
    rng, seen = np.random.default_rng(1), set()
    for fps, (rate, most) in itertools.product(RATES, SAMPLED):
        for total in rng.integers(3, 12_000, 60):
            shown = clip(fps, int(total), rate, most)
            metadata = VideoMetadata(**shown.metadata)
            grid = torch.tensor([-(-len(shown.images) // 2), 2, 2])
            given = BatchFeature({"second_per_grid_ts": torch.tensor([2 / metadata.sampled_fps]).bfloat16()})
            seconds = engine.processor._postprocess_hf_mm_data({"video_metadata": [metadata]}, {}, given)
            own = seconds["second_per_grid_ts"]
            pads = [config.anomaly_pad_token_id] * (int(grid[0] - 1) * config.prompts_per_step)
            ids = [1, before[0], *pads, before[1], *[config.video_token_id] * int(grid[0]), 1]
            data = {"video_grid_thw": grid, "second_per_grid_ts": own[0]}
            item = MultiModalKwargsItem({k: Elem(data=v, field=field[k].field) for k, v in data.items()})
            place = PlaceholderRange(offset=1, length=len(ids) - 2)
            spec = MultiModalFeatureSpec(data=item, modality="video", identifier="", mm_position=place)
            theirs = engine.model.get_mrope_input_positions(ids, [spec])[0]
            rows, seconds = torch.tensor([ids]), [2 / shown.sampled_fps]
            mine = model.model.get_rope_index(
                rows, video_grid_thw=grid[None], second_per_grid_ts=torch.tensor(seconds)
            )[0][:, 0]
            assert torch.equal(mine, theirs), (fps, rate, most, total)
            seen.add((len(shown.images), seconds[0]))
    assert len(seen) > 1500
