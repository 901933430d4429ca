"""Faces in published pictures: what is outlined is blurred beyond recognition, the rest is left alone."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from board_fixtures import Place

from leaderboard.scoring import evidence
from leaderboard.scoring.blurring import blurred, is_outlined
from tvad.data import load, masks
from tvad.data.sample import Sample, Track, Video
from tvad.data.video import Frames

BOX = (60, 30, 99, 129)  # of a person, whose head is at its top


def person(image: np.ndarray, x: int, y: int) -> None:
    """A person with a face, 40 x 100 pixels: skin, hair, eyes, a mouth."""
    cv2.rectangle(image, (x, y + 30), (x + 39, y + 99), (40, 70, 140), -1)
    cv2.ellipse(image, (x + 20, y + 14), (12, 15), 0, 0, 360, (224, 180, 150), -1)
    cv2.ellipse(image, (x + 20, y + 6), (13, 8), 0, 180, 360, (40, 25, 15), -1)
    for eye in (15, 25):
        cv2.circle(image, (x + eye, y + 13), 2, (20, 20, 20), -1)
    cv2.line(image, (x + 15, y + 22), (x + 25, y + 22), (170, 60, 60), 2)


def clip(tracks=None, mask=None, root="") -> tuple[Sample, Frames]:
    """Three frames with two people, of whom the first may be outlined."""
    images = np.random.default_rng(0).integers(90, 110, (3, 160, 240, 3)).astype(np.uint8)
    for image in images:
        person(image, BOX[0], BOX[1])
        person(image, 170, 30)
    video = Video("v.mp4", 10.0, 3, 240, 160)
    sample = Sample("s", "made", "test", video, tracks=tracks, mask=mask, root=root)
    times = np.arange(3) / 10
    return sample, Frames(images, times, np.arange(3), 10.0, 3)


def test_a_face_in_an_outline_is_gone_and_all_else_is_as_it_was():
    track = Track(1, "person", {0: BOX, 2: BOX})  # none in the frame between: it is there all the same
    sample, frames = clip((track,))
    before, after = frames.images.copy(), blurred(sample, frames)
    assert np.array_equal(before, frames.images), "the frames themselves, which are scored, stay"
    changed = (before != after).any((0, 3))
    ys, xs = np.nonzero(changed)
    assert xs.min() >= BOX[0] - 5 and xs.max() <= BOX[2] + 5 and ys.min() >= BOX[1] - 11
    assert np.array_equal(before[:, :, 165:], after[:, :, 165:]), "who is outlined by nothing stays as filmed"
    face = (slice(BOX[1], BOX[1] + 30), slice(BOX[0] + 6, BOX[0] + 34))
    for n in range(3):
        was, now = (cv2.Laplacian(images[n][face], cv2.CV_64F).var() for images in (before, after))
        assert now < was / 50, "no edge of an eye or a mouth is left"
    other = (slice(BOX[1], BOX[1] + 30), slice(176, 204))
    template = before[0][other].astype(np.float32)
    found = [cv2.matchTemplate(image.astype(np.float32), template, cv2.TM_CCOEFF_NORMED) for image in after]
    assert all(match[:, :140].max() < 0.8 for match in found), "the same face is not found in its place"
    assert all(match.max() > 0.99 for match in found)


def test_a_mask_outlines_too_and_an_empty_one_nothing(tmp_path):
    lit = np.zeros((3, 160, 240), bool)
    lit[:, BOX[1] : BOX[3] + 1, BOX[0] : BOX[2] + 1] = True
    masks.write(tmp_path / "m.npz", lit)
    sample, frames = clip(mask="m.npz", root=str(tmp_path))
    assert is_outlined(sample)
    changed = (frames.images != blurred(sample, frames)).any((0, 3))
    assert changed[40:60, 65:95].mean() > 0.9 and not changed[:, 165:].any()
    masks.write(tmp_path / "m.npz", np.zeros_like(lit))
    assert not is_outlined(sample) and not is_outlined(clip()[0]) and not is_outlined(clip(())[0])


@pytest.mark.parametrize("box", [(0, 0, 0, 0), (239, 159, 239, 159), (-9, -9, 500, 500), (300, 0, 400, 9)])
def test_boxes_at_the_edge_and_beyond_it_are_no_fault(box):
    sample, frames = clip((Track(1, "person", {0: box, 1: box, 2: box}),))
    assert blurred(sample, frames).shape == frames.images.shape


def test_the_option_changes_published_pictures_is_recorded_and_said(tmp_path, baseline_runs, scenes):
    pictures, said = {}, {}
    for blur in (False, True):
        (tmp_path / str(blur)).mkdir()
        limits = {"pictures": 500, "blur_outlined": blur}
        place = Place(tmp_path / str(blur), baseline_runs, scoring=limits)
        name = place.scored("random")
        [run] = (tmp_path / str(blur) / "board/scored").iterdir()
        assert json.loads((run / "run.json").read_text()).get(evidence.BLURRED) is (True if blur else None)
        rows = evidence.Answers(run).places
        pictures[blur] = {
            row.id: data.read_bytes()
            for n, row in enumerate(rows)
            if (data := evidence.Answers(run).picture(n)) is not None
        }
        said[blur] = "is blurred" in place.client.get(f"/models/{name}/scenes/samples").text
        samples = {row.id: row.sample for row in rows}
        place.store.engine.dispose()
    assert said == {False: False, True: True}
    outlined = {sample.id for sample in load(scenes) if is_outlined(sample)}
    assert set(pictures[True]) == {key for key in pictures[False] if samples[key] in outlined}
    assert pictures[True] and all(data != pictures[False][key] for key, data in pictures[True].items())


def test_a_clip_in_which_nothing_is_outlined_gets_no_picture(tmp_path, baseline_runs, scenes):
    place = Place(tmp_path, baseline_runs)
    suite, samples, items = place.pages.opened["scenes"]
    bare = [replace(sample, tracks=None, mask=None) for sample in samples]
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text("{}")
    lines = [{"id": i.id, "task": i.task, "sample": i.sample.id, "scores": {}} for i in items[:4]]
    (run / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    evidence.show(run, suite, bare, items, baseline_runs, 4, True)
    assert not list(run.glob("shown/*.jpg")) and (run / evidence.INDEX).is_file()
    place.store.engine.dispose()
