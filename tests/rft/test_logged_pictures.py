"""Logged completions show what they are about: the strip of their own clip, in TensorBoard and in what TRL
sends to wandb."""

import io
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from grpo_scripted import Small, unswept
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from trl.trainer import grpo_trainer

from rft.grpo.config import HeldOut
from rft.grpo.pictures import FRAMES, HEIGHT, strip
from rft.grpo.rollout import video_of
from rft.grpo.train import train_set
from tvad.data.video import Frames


@pytest.fixture(scope="module")
def small(checkpoint, scenes):
    with unswept():
        yield Small(checkpoint, scenes)


def trained(small, out, loggers=("tensorboard",), redraws=0, **knobs):
    run = replace(small.run(out, log_completions=True, **knobs), loggers=list(loggers))
    trainer = small.trainer(run, redraws=redraws)
    trainer.train()
    return trainer


def logged(out, name="completions"):
    """Of the last step: text and picture (None without one) of every completion in the event files."""
    found = {}
    for folder in {path.parent for path in out.rglob("events.out.*")}:
        events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0}).Reload()
        for tag in events.Tags()["tensors"]:
            if tag.startswith(f"{name}/"):
                text = events.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
                found.setdefault(int(tag.split("/")[1]), [None, None])[0] = text
        for tag in events.Tags()["images"]:
            if not tag.startswith(f"{name}/"):
                continue
            data = events.Images(tag)[-1].encoded_image_string
            picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
            found.setdefault(int(tag.split("/")[1]), [None, None])[1] = picture
    return [found[number] for number in sorted(found)]


def test_tensorboard_shows_completions_beside_their_clips(small, tmp_path):
    trainer = trained(small, tmp_path, num_completions_to_print=3)
    rows = logged(tmp_path)
    assert len(rows) == 3
    kept = trainer._logs
    for place, (text, picture) in enumerate(rows):
        said = kept["completion"][place][-1]["content"]  # of whatever signs, line ends among them
        assert "".join(said.split()) in "".join(text.split())
        expected = strip(small.store.load(video_of(kept["prompt"][place])))
        assert np.array_equal(picture, np.asarray(expected))


def test_each_option_has_its_effect(small, tmp_path):
    whole = logged_of(small, tmp_path / "all")
    assert len(whole) > 3 and all(picture is not None for _, picture in whole)
    bare = logged_of(small, tmp_path / "bare", log_multimodal=False)
    assert [text for text, _ in bare] == [text for text, _ in whole]
    assert all(picture is None for _, picture in bare)
    once = logged_of(small, tmp_path / "once", log_unique_prompts=True)
    assert 1 <= len(once) < len(whole)
    run = replace(small.run(tmp_path / "none"), loggers=["tensorboard"])
    small.trainer(run).train()
    assert logged(tmp_path / "none") == []


def logged_of(small, out, **knobs):
    trained(small, out, **knobs)
    return logged(out)


@pytest.mark.parametrize("redraws", [0, 2])
def test_what_goes_to_wandb_has_the_picture_of_its_own_clip(small, tmp_path, monkeypatch, redraws):
    tables = []
    fake = SimpleNamespace(
        run=object(),
        Image=lambda image: image,
        Table=lambda dataframe: dataframe,
        log=lambda what: tables.append(what["completions"]),
    )
    monkeypatch.setattr(grpo_trainer, "wandb", fake, raising=False)
    run = small.run(tmp_path, log_completions=True)
    trainer = small.trainer(run, redraws=redraws)
    trainer.args.report_to = ["wandb"]
    trainer.train()
    assert tables
    for table in tables:
        for prompt, images in zip(table["prompt"], table["image"], strict=True):
            assert np.array_equal(images[0], strip(small.store.load(video_of(prompt))))


def test_an_evaluation_replaces_nothing_of_training(small, tmp_path):
    plain = trained(small, tmp_path / "plain")
    run = replace(
        small.run(tmp_path / "watched", log_completions=True),
        loggers=["tensorboard"],
        held_out=HeldOut(small.scenes, every=1, prompts=2, generations=2),
    )
    watched = small.trainer(run, eval_dataset=train_set(small.rows[:2]))
    watched.train()
    for name in ("plain", "watched"):
        assert len(logged(tmp_path / name)) == 4  # one rollout for two steps
    for (text, picture), (other, its) in zip(
        *(logged(tmp_path / n) for n in ("plain", "watched")), strict=True
    ):
        assert text == other and np.array_equal(picture, its)
    assert logged(tmp_path / "plain", "eval_completions") == []
    assert len(logged(tmp_path / "watched", "eval_completions")) == 4  # two prompts, twice
    folders = [tmp_path / name / "completions" for name in ("plain", "watched")]
    for step in (1, 2):
        tables = [pd.read_parquet(folder / f"completions_{step:05d}.parquet") for folder in folders]
        pd.testing.assert_frame_equal(*tables)
        assert len(pd.read_parquet(folders[1] / f"eval_completions_{step:05d}.parquet")) == 4
    assert len([*folders[1].iterdir()]) == 4
    assert list(plain._logs["completion"]) == list(watched._logs["completion"])


def test_no_strip_is_made_that_nobody_shows(small, tmp_path):
    assert not trained(small, tmp_path, loggers=())._logs["images"]


def test_a_run_s_end_tells_nothing_twice(small, tmp_path):
    trained(small, tmp_path)
    steps = [
        event.step
        for folder in {path.parent for path in tmp_path.rglob("events.out.*")}
        for event in EventAccumulator(str(folder)).Reload().Tensors("completions/0/text_summary")
    ]
    assert steps == [1, 2]


def test_a_strip_is_small_whatever_the_clip():
    for count, height, width in ((1, 8, 8), (40, 720, 1280), (3, 112, 40)):
        images = np.random.default_rng(0).integers(0, 255, (count, height, width, 3), dtype=np.uint8)
        found = strip(Frames(images, np.arange(count) / 2, np.arange(count), 2.0, count))
        assert found.height == min(height, HEIGHT)
        assert found.width == round(min(FRAMES, count) * width * found.height / height)
