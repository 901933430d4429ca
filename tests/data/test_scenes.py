import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from tvad.common.errors import InputError
from tvad.data import load
from tvad.data.scenes.dataset import ScenesConfig, generate, make_sample
from tvad.data.scenes.describe import anomaly_span, box_at
from tvad.data.scenes.render import make_clip
from tvad.data.scenes.script import ANOMALIES, OPEN_SET


def test_the_same_seed_gives_the_same_clip_and_another_seed_another():
    a, b, c = make_clip(5, "running"), make_clip(5, "running"), make_clip(6, "running")
    assert np.array_equal(a.frames, b.frames) and np.array_equal(a.masks, b.masks) and a.tracks == b.tracks
    assert not np.array_equal(a.frames, c.frames)


def test_a_data_set_is_the_same_in_every_process(tmp_path):
    """Not only within one: the order of a set of strings differs from process to process."""
    found = []
    for seed in ("1", "2"):
        command = [
            sys.executable,
            "-m",
            "tvad",
            "data",
            "scenes",
            "--out",
            str(tmp_path / seed),
            "--setting",
            "core",
            "--clips",
            "12",
        ]
        subprocess.run(
            command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed}, cwd=ROOT
        )
        found.append({p.name: p.read_bytes() for p in sorted((tmp_path / seed).rglob("*")) if p.is_file()})
    assert found[0] == found[1] and len(found[0]) == 12 * 2 + 2


@pytest.mark.parametrize("category", [None, *ANOMALIES])
def test_masks_tracks_and_words_agree(category):
    for seed in (11, 12):
        clip = make_clip(seed, category)
        assert clip.frames.shape == (16, 112, 112, 3) and clip.masks.shape == (16, 112, 112)
        assert clip.masks.any() == (category is not None)
        for actor, boxes in clip.tracks.items():
            for frame, (x1, y1, x2, y2) in boxes.items():
                assert 0 <= x1 <= x2 < 112 and 0 <= y1 <= y2 < 112
                wrong = clip.plan.actors[actor].anomalous[frame]
                assert category is not None or not wrong
        for frame in np.flatnonzero(clip.anomalous_frames):
            guilty = [
                b[frame]
                for a, b in clip.tracks.items()
                if frame in b and clip.plan.actors[a].anomalous[frame]
            ]
            ys, xs = np.nonzero(clip.masks[frame])
            inside = np.zeros(len(ys), bool)
            for x1, y1, x2, y2 in guilty:
                inside |= (xs >= x1 - 1) & (xs <= x2 + 1) & (ys >= y1 - 1) & (ys <= y2 + 1)
            assert inside.all()
            assert box_at(clip, frame) is not None
        span = anomaly_span(clip)
        assert (span is None) == (category is None)
        assert span is None or 0 <= span[0] < span[1] <= 4.0


def test_open_set_splits_share_no_class_and_cover_ten():
    names = [set(v) for v in OPEN_SET.values()]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    assert len(set.union(*names)) == len(ANOMALIES) >= 10


def test_letters_are_balanced_within_every_class():
    config = ScenesConfig(clips=260, normal=0.2)
    from tvad.data.scenes.dataset import _assignment

    categories, letters = _assignment(config)
    for name in {*categories}:
        counts = np.bincount(letters[[c == name for c in categories], 0], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_every_kind_of_question_is_asked_and_can_be_solved():
    sample, _ = make_sample(ScenesConfig(clips=4), 1, "cycling", (2, 1, 0))
    kinds = {q.kind for q in sample.questions}
    assert kinds == {"mcq", "judgement", "classification", "temporal", "spatial"}
    event = next(q for q in sample.questions if q.topic == "event")
    assert event.answer == "C" and event.options[2] == "cycling" and "nothing unusual" in event.options
    assert sample.problems() == [] and len(sample.dialogue) == 5


def test_a_killed_generation_goes_on_and_ends_the_same(tmp_path):
    config = ScenesConfig(split="val", clips=6, max_crowd=2)
    whole = generate(config, tmp_path / "whole")
    part = tmp_path / "part"
    generate(config, part)
    lines = (part / "samples.jsonl").read_text().splitlines(True)
    (part / "samples.partial.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    (part / "samples.jsonl").unlink()
    assert generate(config, part) == whole == load(part)


def test_another_configuration_in_the_same_folder_is_refused(tmp_path):
    generate(ScenesConfig(clips=2), tmp_path)
    with pytest.raises(InputError, match="another configuration"):
        generate(ScenesConfig(clips=3), tmp_path)


def test_a_folder_made_before_there_were_versions_is_gone_on_with(tmp_path):
    config = ScenesConfig(clips=2, max_crowd=1)
    made = generate(config, tmp_path)
    recipe = tmp_path / "scenes.json"
    stated = json.loads(recipe.read_text())
    assert (stated["format"], stated["version"], stated["generator"]) == ("tvad-dataset", 2, 4)
    recipe.write_text(json.dumps({k: v for k, v in stated.items() if k not in ("format", "version")}))
    assert generate(config, tmp_path) == made and json.loads(recipe.read_text()) == stated
    rows = tmp_path / "samples.jsonl"  # as version 1 wrote them: one class a video
    older = [json.loads(line) for line in rows.read_text().splitlines()]
    rows.write_text("".join(json.dumps(r | {"category": r.pop("categories")[0]}) + "\n" for r in older))
    recipe.write_text(json.dumps(stated | {"version": 1}))
    assert generate(config, tmp_path) == made and json.loads(recipe.read_text()) == stated
    recipe.write_text(json.dumps(stated | {"version": 3}))
    with pytest.raises(InputError, match="version 3 of tvad-dataset is newer"):
        generate(config, tmp_path)


@pytest.mark.parametrize("bad", [{"split": "odd"}, {"setting": "ajar"}, {"clips": 0}, {"normal": 2.0}])
def test_bad_configurations_are_refused(tmp_path, bad):
    with pytest.raises(InputError):
        generate(ScenesConfig(**bad), tmp_path)
