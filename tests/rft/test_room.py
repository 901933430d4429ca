"""What a clip costs: bounds of its pixels reach every step of a training and stay with what it leaves, and a
prompt's tokens are known before anything is loaded."""

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from conftest import SHIPPED
from grpo_runs import run_of
from transformers import AutoModelForImageTextToText, AutoProcessor

from bench import models
from bench.models.hf import HfModel
from bench.models.lengths import longest_of
from bench.models.lengths import room_for as suite_room
from bench.run import run as run_suite
from bench.suite import Suite
from bench.suite import load as load_suite
from rft.curriculum.config import Curriculum, Data, Losses, Optimiser, Stage, Texts
from rft.curriculum.train import train as train_stages
from rft.grpo import mixture
from rft.grpo.config import Evaluate, HeldOut
from rft.grpo.room import processor_of, room_for
from rft.grpo.train import train
from tvad.common.errors import InputError
from tvad.control import chat
from tvad.data import load, save
from tvad.data.dataset import ClipStore
from tvad.data.sample import Question, Sample, Video
from tvad.data.video import Budget
from tvad.data.video.budget import kept_sampling
from tvad.model.room import prompt_tokens, shown
from tvad.prompts import asked


def mp4(path, frames: int, fps: float, width: int, height: int):
    """An ordinary file, whatever the data says of it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for n in range(frames):
            image = np.full((height, width, 3), n % 200, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """Three files at 24, 25 and 29.97 frames a second, of which the data knows nothing."""
    folder = tmp_path_factory.mktemp("ordinary")
    (folder / "videos").mkdir()
    samples = []
    for n, (frames, fps, width, height) in enumerate(
        [(75, 25, 320, 240), (31, 24, 160, 90), (47, 30000 / 1001, 96, 128)]
    ):
        mp4(folder / f"videos/{n}.mp4", frames, fps, width, height)
        question = Question("mcq", f"What happens in video {n}?", "A", options=("Nothing", "A fall"))
        video = Video(f"videos/{n}.mp4")
        samples.append(Sample(f"v{n}", "own", "test", video, "normal", questions=(question,)))
    save(samples, folder)
    return folder


@pytest.mark.parametrize("family", ["checkpoint", "checkpoint_qwen3"])
@pytest.mark.parametrize("rate, most", [(2.0, 8), (3.0, 5), (0.2, 8), (8.0, 64)])
def test_a_prompts_tokens_are_those_that_the_processor_makes(family, rate, most, ordinary, request):
    processor = AutoProcessor.from_pretrained(request.getfixturevalue(family))
    store = ClipStore(rate, most)
    for sample in load(ordinary):
        messages = asked(sample.questions[0], "tvad", "clip", ())
        clip = store.frames(sample)
        told = processor.encode([chat(processor, messages)], [clip])["input_ids"].shape[1]
        assert prompt_tokens(processor, messages, shown(sample, rate, most)) == told
        # And by what the data says, where it says it.
        height, width = clip.images.shape[1:3]
        video = replace(sample.video, fps=clip.fps, frames=clip.total, width=width, height=height)
        stated = shown(replace(sample, video=video), rate, most)
        assert stated.frames == len(clip.images)
        assert prompt_tokens(processor, messages, stated) == told


def rows_of(run, samples):
    return mixture.rows(samples, mixture.tasks_of(run.tasks), 3, 0)


def test_the_longest_row_makes_the_room(ordinary, tmp_path):
    run = replace(run_of(ordinary, SHIPPED, tmp_path), tasks={"mcq": 1}, max_frames=8)
    samples = load(ordinary)
    rows = rows_of(run, samples)
    wide = replace(run, max_pixels=320 * 240)
    found = [room_for(r, processor_of(r), rows, samples, 8) for r in (run, wide)]
    assert found[0] < 400 < found[1]  # 320 x 240 is six times what the checkpoint takes
    assert room_for(replace(run, prompt_tokens=777), processor_of(run), rows, samples, 8) == 777


def test_a_row_that_is_too_long_is_refused_before_anything_is_loaded(ordinary, tmp_path, monkeypatch):
    def loaded(*_, **__):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", loaded)
    run = replace(
        run_of(ordinary, SHIPPED, tmp_path, max_steps=1),
        tasks={"mcq": 1},
        topics=None,
        rewards={"answer": 1.0},
        max_pixels=320 * 240,
        prompt_tokens=300,
    )
    said = r"prompt_tokens: v0 \(mcq\) takes \d+ tokens .*320 x 240.*limit is 300"
    with pytest.raises(InputError, match=said):
        train(run)
    long = replace(run, prompt_tokens=None, min_pixels=320 * 240, rate=25.0, max_frames=75)
    said = r"v0 \(mcq\) takes \d+ tokens .* and up to 8 more .* 4096 positions"
    with pytest.raises(InputError, match=said):
        train(long)


def test_each_bound_reaches_a_runs_rollouts_its_log_probs_and_its_checkpoint(scenes, tmp_path):
    sizes = {}
    for name, bounds in {
        "own": {},
        "max": {"max_pixels": 56 * 56, "min_pixels": 28 * 28},
        "total": {"min_pixels": 28 * 28, "total_pixels": 4 * 40 * 40},
    }.items():
        run = replace(run_of(scenes, SHIPPED, tmp_path / name, max_steps=1), **bounds, decoders=0)
        trainer = train(run)
        assert trainer.engine.pixels == Budget(**bounds)
        # The engine's and the pass's clips are of one size: else the prompts of both would not be the same.
        assert trainer._last_rollout().vision["video_grid_thw"].shape[1] == 3
        sizes[name] = {tuple(grid) for grid in trainer._last_rollout().vision["video_grid_thw"].tolist()}
        kept = AutoProcessor.from_pretrained(tmp_path / name / "model")
        clip = ClipStore(run.rate, run.max_frames).frames(load(scenes)[0])
        assert tuple(kept.vision_inputs([clip])["video_grid_thw"][0].tolist())[1:] in {
            grid[1:] for grid in sizes[name]
        }
        assert kept_sampling(tmp_path / name / "model") == (run.rate, run.max_frames)
    assert len({frozenset(grids) for grids in sizes.values()}) == 3


def test_a_curriculums_bounds_reach_its_batches_and_its_checkpoint(scenes, tmp_path):
    stage = Stage(
        "ahd",
        ["model.ahd.*"],
        Data(str(scenes)),
        Texts(kinds=[]),
        Losses(text=0.0, heatmap=1.0),
        optimiser=Optimiser(steps=1, batch=2),
        text_features=True,
    )
    bounds = {"min_pixels": 784, "max_pixels": 56 * 56}
    plan = Curriculum(
        str(tmp_path), str(SHIPPED), [stage], rate=1.0, max_frames=6, prompts="surveillance", **bounds
    )
    folder = train_stages(plan, log=lambda text: None)
    assert kept_sampling(folder) == (1.0, 6)
    kept = AutoProcessor.from_pretrained(folder)
    clip = ClipStore(1.0, 6).frames(load(scenes)[0])
    assert int(kept.vision_inputs([clip])["video_grid_thw"][0, 1:].prod()) <= 16
    # Other bounds are another stage.
    with pytest.raises(InputError, match="max_pixels"):
        train_stages(replace(plan, max_pixels=84 * 84), log=lambda text: None)


def test_a_suites_bounds_reach_its_engine(ordinary, tmp_path):
    suite = Suite("s", str(ordinary), ["mcq"], max_frames=8, max_pixels=320 * 240)
    engine = models.load(f"hf:{SHIPPED}", max_pixels=320 * 240)
    clip = ClipStore(2.0, 8).frames(load(ordinary)[0])
    opened, text = (engine, models.load(f"hf:{SHIPPED}")), "<|vision_start|><|video_pad|><|vision_end|>"
    grids = [HfModel._encoded(e, [text], [clip])["video_grid_thw"].tolist() for e in opened]
    assert grids[0] != grids[1]
    run_suite(engine, "m", suite, tmp_path / "a")
    assert json.loads((tmp_path / "a/run.json").read_text())["suite"]["max_pixels"] == 320 * 240
    with pytest.raises(InputError, match="s: asks for max_pixels 76800, m was opened with the checkpoint's"):
        run_suite(models.load(f"hf:{SHIPPED}"), "m", suite, tmp_path / "b")
    plain = replace(suite, max_pixels=None)
    samples, items = load_suite(suite)
    assert suite.digest(samples) != plain.digest(samples)
    rooms = [suite_room(f"vllm:{SHIPPED}", s, items)["max_model_len"] for s in (plain, suite)]
    assert rooms[0] < 400 < rooms[1]
    with pytest.raises(InputError, match=r"v0#0 takes .* 4096 positions"):
        suite_room(f"vllm:{SHIPPED}", replace(suite, rate=25.0, max_frames=75, min_pixels=320 * 240), items)


def test_an_endpoint_cannot_be_told_a_suites_bounds(ordinary, tmp_path):
    suite = Suite("s", str(ordinary), ["mcq"], max_pixels=320 * 240)
    with pytest.raises(InputError, match="s: asks for max_pixels 76800"):
        run_suite(models.load("openai:m@http://127.0.0.1:9"), "m", suite, tmp_path)


def test_a_runs_evaluation_has_room_for_its_suite(ordinary, scenes, tmp_path):
    run = replace(run_of(scenes, SHIPPED, tmp_path), tasks={"mcq": 1})
    samples = load(scenes)
    rows = rows_of(run, samples)
    suite = Suite("s", str(ordinary), ["mcq"], rate=8.0, max_frames=30)
    told = suite, load_suite(suite)[1]
    processor = processor_of(run)
    alone, both = (room_for(run, processor, rows, samples, 8, s) for s in (None, told))
    assert both > alone


def test_held_out_prompts_have_room_too(ordinary, scenes, tmp_path, monkeypatch):
    rooms = []

    def opened(run, model, processor, sequences, prompt, completion):
        rooms.append(prompt)
        raise KeyboardInterrupt

    monkeypatch.setattr("rft.grpo.train.engine_of", opened)
    run = run_of(scenes, SHIPPED, tmp_path, max_steps=1)
    run = replace(run, tasks={"mcq": 1}, rewards={"answer": 1.0}, topics=None, max_pixels=320 * 240)
    for held in (None, HeldOut(str(ordinary), prompts=3, generations=8)):
        with pytest.raises(KeyboardInterrupt):
            train(replace(run, held_out=held))
    processor = processor_of(run)
    asks = {s.id: asked(s.questions[0], "tvad", "clip", ()) for s in load(ordinary)}
    took = [prompt_tokens(processor, asks[s.id], shown(s, run.rate, run.max_frames)) for s in load(ordinary)]
    assert rooms[0] < max(took) == rooms[1]


def test_a_runs_evaluation_with_other_bounds_is_refused_at_its_start(ordinary, scenes, tmp_path, monkeypatch):
    def loaded(*_, **__):
        raise AssertionError("a model is loaded")

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", loaded)
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"name: s\ndata: {ordinary}\ntasks: [mcq]\nmax_pixels: 76800\n")
    run = run_of(scenes, SHIPPED, tmp_path / "run", max_steps=1)
    plan = Evaluate(str(suite), "mcq.accuracy")
    with pytest.raises(InputError, match=r"s: asks for max_pixels 76800, .* the checkpoint's own pixels"):
        train(replace(run, evaluate=plan))
    with pytest.raises(AssertionError, match="a model is loaded"):
        train(replace(run, evaluate=plan, max_pixels=76800))


def test_a_suite_leaves_the_processor_of_a_run_as_it_is(ordinary):
    suite = Suite("s", str(ordinary), ["mcq"], max_pixels=76800)
    processor = AutoProcessor.from_pretrained(SHIPPED)
    before = processor.video_processor.to_dict()
    longest_of(suite, load_suite(suite)[1], processor)
    assert processor.video_processor.to_dict() == before


@pytest.mark.slow
def test_the_engine_in_vllm_makes_clips_of_the_same_size(ordinary, tmp_path):
    """In a process of its own: vLLM keeps one engine a process."""
    pytest.importorskip("vllm")
    program = (
        "import sys; from bench.models.vllm import VllmModel; from bench.models.hf import HfModel\n"
        "from bench.models.base import Request, Sampling; from tvad.data import load\n"
        "from tvad.data.dataset import ClipStore; from tvad.prompts import asked\n"
        "bounds = {'min_pixels': 12544, 'max_pixels': 76800, 'total_pixels': 160 * 784}\n"
        "samples, store = load(sys.argv[2]), ClipStore(8.0, 24)\n"
        "ask = [Request(asked(s.questions[0], 'tvad', 'clip', ()), store.frames(s)) for s in samples]\n"
        "vllm = VllmModel(sys.argv[1], max_model_len=1024, max_num_seqs=4, **bounds)\n"
        "found = vllm.sample(ask, Sampling(max_tokens=8)); hf = HfModel.open(sys.argv[1], **bounds)\n"
        "own = [hf._inputs([r])['input_ids'][0].tolist() for r in ask]\n"
        "assert vllm.prompt_ids == own, [len(x) for x in vllm.prompt_ids + own]\n"
        "assert [c[0].ids for c in found] == [c[0].ids for c in hf.sample(ask, Sampling(max_tokens=8))]\n"
        "assert max(map(len, own)) > 300\n"
        "print('same')\n"
    )
    call = [sys.executable, "-c", program, str(SHIPPED), str(ordinary)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=400)
    assert "same" in done.stdout, done.stderr[-3000:]
