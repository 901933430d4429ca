"""Groups over passes: as many in every process, whole, in the order of a rollout; what is kept of one."""

from types import SimpleNamespace

import pytest
import torch
from grpo_runs import run_of

from rft.grpo import buffered, steps, video_grpo
from rft.grpo.logprobs import Group
from rft.grpo.passes import passes
from rft.grpo.train import train


def beside(most: int, process: int = 0):
    """An accelerator of a process beside one that counts `most`."""
    return SimpleNamespace(
        device="cpu",
        process_index=process,
        gather=lambda count: torch.cat([count, torch.tensor([most])]),
    )


def group(clip: int, prompt: int, completions: int) -> Group:
    return Group(
        clip,
        [clip * 10 + n for n in range(completions)],
        torch.zeros(prompt, dtype=torch.long),
        [torch.tensor([clip, n]) for n in range(completions)],
    )


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, 8])
def test_every_process_makes_as_many_passes_as_the_one_that_needs_most(most):
    groups = [group(0, 5, 4), group(1, 9, 1), group(2, 5, 3)]
    found = passes(groups, 40, beside(most))
    assert len(found) == max(most, 2), "two passes fit these groups by themselves"
    rows = [
        (g.clip, row, completion.tolist())
        for part in found
        for g in part
        for row, completion in zip(g.members, g.completions, strict=True)
    ]
    assert sorted(rows) == [(g.clip, row, [g.clip, row % 10]) for g in groups for row in g.members]
    assert all(part and all(g.members for g in part) for part in found)


def test_a_rollout_is_shuffled_by_whole_groups():
    rows = torch.arange(12)
    output = {
        "group_index": torch.tensor([3, 3, 3, 0, 0, 0, 7, 7, 7, 1, 1, 1]),
        "completion_ids": rows[:, None],
        "names": [str(row) for row in rows.tolist()],
        "num_items_in_batch": torch.tensor(9),
        "old": None,
    }
    orders = set()
    for _ in range(20):
        found = buffered.by_groups(output)
        place = found["completion_ids"][:, 0].tolist()
        assert sorted(place) == rows.tolist() and found["names"] == [str(row) for row in place]
        assert found["group_index"].tolist() == output["group_index"][place].tolist()
        assert found["group_index"].reshape(4, 3).eq(found["group_index"].reshape(4, 3)[:, :1]).all()
        assert found["num_items_in_batch"] == 9 and found["old"] is None
        orders.add(tuple(found["group_index"].tolist()))
    assert len(orders) > 5


def test_what_is_kept_of_a_rollout_comes_back_and_a_cut_file_is_none(tmp_path):
    given = [
        {"ids": torch.arange(6).reshape(2, 3) + n, "count": torch.tensor(3), "old": None} for n in (0, 6)
    ]
    for process in (0, 1):
        buffered.save(tmp_path, beside(0, process), given, ["a.mp4", "b.mp4"])
    found, videos = buffered.load(tmp_path, beside(0, 1))
    assert videos == ["a.mp4", "b.mp4"] and buffered.lies_in(tmp_path, 2)
    assert [{k: v.tolist() for k, v in one.items()} for one in found] == [
        {k: v.tolist() for k, v in one.items() if v is not None} for one in given
    ]
    assert not buffered.lies_in(tmp_path, 3), "the third process has none"
    file = tmp_path / "rollout_1.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    assert not buffered.lies_in(tmp_path, 2)


@pytest.mark.parametrize(
    ("knobs", "count", "found"),
    [
        # 2 prompts a rollout: 8 prompts make 4 passes an epoch.
        ({}, 8, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4), (1, 5)]),
        ({"gradient_accumulation_steps": 3, "steps_per_generation": 1}, 8, [(0, 0), (0, 3), (1, 4), (1, 7)]),
        ({"num_iterations": 2, "steps_per_generation": 2}, 9, [(0, 0), (0, 1), (0, 2)]),
        ({"num_iterations": 2, "gradient_accumulation_steps": 3, "steps_per_generation": 1}, 5,
         [(0, 0), (0, 3), (1, 4), (1, 7), (2, 8)]),
    ],
)  # fmt: skip
def test_passes_behind_a_step_are_counted_over_short_last_steps(scenes, tmp_path, knobs, count, found):
    from rft.grpo.config import settings_of

    arguments = settings_of(run_of(scenes, "tvad-tiny", tmp_path, **knobs), [1.0])
    assert [steps.passes_done(step, count, arguments) for step in range(len(found))] == found


@pytest.mark.parametrize(
    ("own", "size", "said"),
    [(8, 4, None), (4, 4, None), (2, 8, "in up to 4 passes"), (3, 8, "in up to 4"), (6, 4, "in up to 2")],
)
def test_a_pass_that_is_smaller_than_a_group_is_said(scenes, tmp_path, capsys, own, size, said):
    arguments = SimpleNamespace(
        per_device_train_batch_size=own, num_generations=size, gradient_accumulation_steps=8,
        steps_per_generation=8, num_iterations=1, generation_batch_size=own * 8, world_size=1,
    )  # fmt: skip
    steps.check_steps(own * 8 // size, arguments)
    found = capsys.readouterr().err
    assert (said in found and f"a pass takes {own} completions, a group has {size}" in found) if said else (
        "groups:" not in found
    )  # fmt: skip


def test_under_accumulation_a_clip_is_encoded_in_one_pass_of_a_step(
    scenes, checkpoint, tmp_path, monkeypatch
):
    """Eight passes of a group each: TRL's shuffle would tear the groups apart over all of them."""
    encoded = []
    inner = video_grpo.group_logprobs

    def counted(model, core, prompts, *rest):
        encoded.append(len(prompts))
        return inner(model, core, prompts, *rest)

    monkeypatch.setattr(video_grpo, "group_logprobs", counted)
    train(
        run_of(
            scenes,
            checkpoint,
            tmp_path,
            max_steps=1,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=8,
        )
    )
    assert encoded == [1] * 8
