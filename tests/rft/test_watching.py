"""What is watched beside what is paid (weight 0, held-out prompts, length), and what is gone on without
(clips that cannot be decoded): each changes what it says and nothing else."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SHIPPED
from grpo_runs import run_of
from outcomes import in_two_processes
from PIL import Image
from safetensors.torch import load_file
from trl.rewards import get_soft_overlong_punishment

from rft.grpo import mixture
from rft.grpo.config import HeldOut
from rft.grpo.held_out import refuse_trained
from rft.grpo.skipping import BadClips
from rft.grpo.train import train
from rft.rewards.mix import named, rewards_of, select
from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.dataset import ClipStore
from tvad.data.scenes.dataset import ScenesConfig, generate


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Clips that are not trained on."""
    folder = tmp_path_factory.mktemp("others")
    generate(ScenesConfig(split="val", clips=6, seed=9, max_crowd=2), folder)
    return folder


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("cache", [1, 20, 100])
def test_soft_overlong_is_dapos_equation(cache):
    ids = [[1] * n for n in range(101)]
    theirs = get_soft_overlong_punishment(100, cache)(ids)
    ours = named(f"overlong.{cache}")
    assert ours([""] * 101, completion_ids=ids, max_completion_length=[100] * 101) == pytest.approx(theirs)


@pytest.mark.parametrize("name", ["overlong.0", "overlong.-5", "overlong.much", "overlong."])
def test_a_cache_that_is_no_number_of_tokens_is_refused(name):
    with pytest.raises(InputError, match=r"expected overlong\.TOKENS"):
        select({name: 1.0})


def test_a_task_may_watch_what_another_pays():
    functions, weights = rewards_of({"format": 1.0}, {"mcq": {"answer": 1.0}, "judgement": {"answer": 0.0}})
    right = "<think>x</think><answer>B</answer>"
    yes = "<think>x</think><answer>Yes</answer>"
    columns = {"solution": [right, yes], "task": ["mcq", "judgement"]}
    found = {f.__name__: (f([right, yes], **columns), w) for f, w in zip(functions, weights, strict=True)}
    assert found == {"answer": ([1.0, None], 1.0), "answer_watched": ([None, 1.0], 0.0)}


@pytest.mark.slow
def test_what_is_watched_is_logged_and_changes_nothing(scenes, others, tmp_path):
    """Evaluated inside a rollout that serves two steps, to whose second step its own clips must come back."""
    knobs = {"max_steps": 3, "learning_rate": 1e-3, "max_completion_length": 12, "steps_per_generation": 2}
    plain = replace(
        run_of(scenes, SHIPPED, tmp_path / "plain", **knobs),
        tasks={"mcq": 1, "temporal": 1},
        rewards={"format": 1.0, "answer": 1.0, "overlong.4": 0.5},
    )
    watched = replace(
        plain,
        out=str(tmp_path / "watched"),
        rewards=plain.rewards | {"consistency": 0.0},
        held_out=HeldOut(str(others), every=1, prompts=5, generations=4),
    )
    train(plain)
    train(watched)
    one, other = (load_file(tmp_path / name / "model/model.safetensors") for name in ("plain", "watched"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    rows = [row for row in log_of(tmp_path / "watched") if "reward" in row]
    assert all("rewards/consistency/mean" in row and row["rewards/overlong/mean"] <= 0 for row in rows)
    held = [row for row in log_of(tmp_path / "watched") if "eval_reward" in row]
    assert [row["step"] for row in held] == [1, 2, 3] and "eval_rewards/consistency/mean" in held[0]
    lines = [(tmp_path / name / "rollouts.jsonl").read_text().splitlines() for name in ("plain", "watched")]
    asked = [[(row["step"], row["clip"]) for row in map(json.loads, part)] for part in lines]
    assert asked[0] == asked[1], "what held-out prompts were answered is no rollout"
    assert "Held-out prompts" in (tmp_path / "watched/run.html").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"rewards": {"overlong.64": 1.0}},
            "overlong.64: its tokens are more than training.max_completion_length",
        ),
        ({"rewards": {"consistency": 0.0}}, "all weights are 0"),
        ({"held_out": HeldOut("DATA")}, "of its videos are in the training data"),
        ({"held_out": HeldOut("DATA", every=0)}, "held_out.every: 0"),
        (
            {"held_out": HeldOut("DATA", prompts=1)},
            "held_out: 1 questions of the run's tasks, a batch takes 2",
        ),
    ],
)
def test_what_watches_nothing_is_refused(scenes, tmp_path, change, words):
    if "held_out" in change:
        change = {"held_out": replace(change["held_out"], data=str(scenes))}
    with pytest.raises(InputError, match=words):
        train(replace(run_of(scenes, SHIPPED, tmp_path), **change))


def test_videos_of_a_copy_of_the_training_data_are_not_held_out(scenes, others, tmp_path):
    """At another place and by another name; files that hold nothing are no copies of each other."""
    shutil.copytree(scenes, tmp_path / "copy")
    path = tmp_path / "copy/samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if "id" in line:
            name = f"videos/again_{line['id']}.mp4"
            (tmp_path / "copy" / line["video"]["path"]).rename(tmp_path / "copy" / name)
            line["id"], line["video"]["path"] = f"again_{line['id']}", name
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = replace(run_of(scenes, SHIPPED, tmp_path / "out"), held_out=HeldOut(str(tmp_path / "copy")))
    with pytest.raises(InputError, match=r"of its videos are in the training data, e\.g\. .*/again_"):
        train(run)
    shutil.copytree(others, tmp_path / "empty")
    for folder in (tmp_path / "copy", tmp_path / "empty"):
        for file in (folder / "videos").iterdir():
            file.write_bytes(b"")
    trained, asked = load(tmp_path / "copy"), load(tmp_path / "empty")
    refuse_trained([{"video": sample.clip()} for sample in asked], asked, trained)


def test_the_last_step_is_evaluated_however_few_there_are(scenes, others, tmp_path):
    held = HeldOut(str(others), every=50, prompts=4, generations=2)
    train(replace(run_of(scenes, SHIPPED, tmp_path, max_steps=1), held_out=held))
    assert [row["step"] for row in log_of(tmp_path) if "eval_reward" in row] == [1]


def cut(scenes, folder, names: int):
    """A copy of the data in which files end in their middle, as an interrupted copy leaves them."""
    shutil.copytree(scenes, folder)
    files = sorted((folder / "videos").iterdir())[:names]
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return [file.stem for file in files]


def test_bad_clips_end_a_run_or_are_skipped_by_name_and_count(scenes, tmp_path, capfd):
    cut(scenes, tmp_path / "data", 8)
    run = run_of(tmp_path / "data", SHIPPED, tmp_path / "refused", max_steps=2)
    with pytest.raises(InputError, match=r"videos/\w+\.mp4"):
        train(run)
    train(replace(run, out=str(tmp_path / "skipped"), skip_bad_clips=True))
    said = capfd.readouterr().err
    shares = [row["clips/skipped"] for row in log_of(tmp_path / "skipped") if "reward" in row]
    assert len(shares) == 2 and any(shares) and "skipped from here on" in said
    assert (
        "clips were skipped: " in said
        and "share of completions whose clip was skipped" in (tmp_path / "skipped/run.html").read_text()
    )


def test_a_question_about_a_bad_clip_gives_way_to_one_of_its_task(scenes, tmp_path):
    bad = cut(scenes, tmp_path / "data", 6)
    tasks = mixture.tasks_of({"mcq": 1, "judgement": 1})
    rows = mixture.rows(load(tmp_path / "data"), tasks, 32, 0)

    class Columns(list):  # as a Dataset is read
        def __getitem__(self, key):
            return [row[key] for row in rows] if isinstance(key, str) else list.__getitem__(self, key)

    found = BadClips(ClipStore(2.0, 8))
    kept, share = found.readable(rows, Columns(rows), seed=1, step=0)
    again, _ = BadClips(ClipStore(2.0, 8)).readable(rows[3:9], Columns(rows), seed=1, step=5)
    assert again == kept[3:9], "the same one in every process and at every step"
    assert [row["task"] for row in kept] == [row["task"] for row in rows]
    asked = [row["sample_id"] in bad for row in rows]
    assert share == sum(asked) / 32 > 0 and not any(row["sample_id"] in bad for row in kept)
    assert all(new == old for new, old, gone in zip(kept, rows, asked, strict=True) if not gone)
    cut(scenes, tmp_path / "none", 16)
    rows = mixture.rows(load(tmp_path / "none"), tasks, 4, 0)
    with pytest.raises(InputError, match="no clip of the data can be decoded"):
        found.readable(rows, Columns(rows), seed=1, step=0)


GONE = """
import sys
from pathlib import Path
from types import SimpleNamespace

from accelerate import Accelerator

from rft.grpo import mixture
from rft.grpo.skipping import BadClips
from rft.grpo.train import train_set
from tvad.data import load
from tvad.data.dataset import ClipStore

accelerator = Accelerator(cpu=True)
rows = mixture.rows(load(sys.argv[1]), mixture.tasks_of({"mcq": 1}), 8, 0)
store = ClipStore(2.0, 8)
if accelerator.is_main_process:
    store.load(rows[0]["video"])
    Path(rows[0]["video"]).unlink()
accelerator.wait_for_everyone()
shares = []
trainer = SimpleNamespace(
    train_dataset=train_set(rows),
    model=SimpleNamespace(training=True),
    args=SimpleNamespace(seed=0),
    state=SimpleNamespace(global_step=0),
    _log_metric=lambda name, share: shares.append(share),
)
kept = BadClips(store).replaced(trainer, rows)
ids = " ".join(row["sample_id"] for row in kept)
print(f"SAYS {shares} {rows[0]['sample_id'] in ids.split()} {ids}\\n", end="", flush=True)
"""


@pytest.mark.slow
def test_a_clip_that_is_gone_gives_way_in_every_process_that_still_holds_it(scenes, tmp_path):
    """A group that is torn over two processes stays about one clip."""
    shutil.copytree(scenes, tmp_path / "data")
    printed = in_two_processes(tmp_path / "gone.py", GONE, tmp_path / "data")
    one, other = (line for line in printed.splitlines() if line.startswith("SAYS"))
    assert one == other and " False " in one


@pytest.mark.slow
def test_rows_of_pictures_are_clips_of_one_frame_and_rows_without_a_video_are_refused(scenes, tmp_path):
    """A mixture may hold pictures; text alone and several clips are no rows of a data set: said before a
    model is loaded."""
    shutil.copytree(scenes, tmp_path / "data")
    path = tmp_path / "data/samples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    pictures = []
    for n, line in enumerate(lines[:8]):
        name = f"videos/picture{n}.png"
        Image.fromarray(np.full((64, 64, 3), 20 * n, np.uint8)).save(tmp_path / "data" / name)
        kept = [q for q in line["questions"] if q["kind"] == "mcq"]
        row = {key: line[key] for key in ("source", "split")} | {"id": f"picture{n}", "questions": kept}
        pictures.append(row | {"video": {"path": [name], "fps": 1}})
    head = [line for line in lines if "id" not in line]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*head, *pictures]))
    run = replace(run_of(tmp_path / "data", SHIPPED, tmp_path / "out", max_steps=1), tasks={"mcq": 1})
    train(replace(run, rewards={"format": 0.5, "answer": 1.0}))
    (row,) = [row for row in log_of(tmp_path / "out") if "reward" in row]
    assert row["sampler_gap/max"] < 1e-4, "the engine and the trainer saw the same picture"
    for odd, words in (
        ({"video": None}, "video: expected an object"),
        ({"video": [{"path": "a.mp4"}, {"path": "b.mp4"}]}, "video: expected an object, found list"),
    ):
        path.write_text("".join(json.dumps(line) + "\n" for line in [*head, *pictures, pictures[0] | odd]))
        with pytest.raises(InputError, match=words):
            train(run)
