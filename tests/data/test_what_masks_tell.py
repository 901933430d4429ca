"""What maps of ids and tracks teach: everything that they show and nothing that they cannot tell, from
readers to the texts of both phases, on UBnormal and ShanghaiTech as they are distributed."""

import json

import cv2
import pytest
from conftest import shared
from mask_videos import FRAMES, PEOPLE, maps_of, write_shanghaitech, write_ubnormal

from rft.curriculum.config import Texts
from rft.curriculum.data import ClipCollator
from tvad.data import check, dialogue, load, masks, shanghaitech, ubnormal, video
from tvad.data.dialogue import facts, parts_of, turns
from tvad.data.narrate import OVERALL, UNUSUAL, narratives, objects
from tvad.data.questions import DIALOGUE, FIGURE, TALK
from tvad.data.sample import Sample, Track, Video

WORDS_OF_LOOKS = ("person", "wear", "dressed", "red", "tall")


@pytest.fixture
def six(tmp_path):
    """Six videos, three of them normal, one of these without annotations."""
    root, lists = tmp_path / "UBnormal", tmp_path / "scripts"
    lists.mkdir()
    wrong = [f"abnormal_scene_2_scenario_{n}" for n in (1, 2, 3)]
    right = [f"normal_scene_2_scenario_{n}" for n in (4, 5, 6)]
    write_ubnormal(root, wrong[0], maps_of(PEOPLE), [(3, 5, 12)])
    write_ubnormal(root, wrong[1], maps_of({3: PEOPLE[3]}), [(3, 0, 3), (3, 10, 12)])  # twice, alone
    notes = write_ubnormal(root, wrong[2], maps_of(PEOPLE), [(3, 5, 12), (9, 7, 8)])
    (notes / f"{wrong[2]}_0000_gt.png").unlink()  # nobody knows who is there then
    for name in right:
        notes = write_ubnormal(root, name, maps_of({1: PEOPLE[1], 9: PEOPLE[9]}))
    for map_of_ids in notes.iterdir():
        map_of_ids.unlink()
    for kind, names in (("abnormal", wrong), ("normal", right)):
        (lists / f"{kind}_training_video_names.txt").write_text("\n".join(names) + "\n")
    samples, problems = ubnormal.read(root, lists, "train", tmp_path / "out")
    assert not problems and not check(tmp_path / "out")
    return {sample.id.split("_")[-1]: sample for sample in samples}


def test_all_ids_of_the_maps_are_tracks(six):
    found = {track.id: track for track in six["1"].tracks}
    assert found.keys() == PEOPLE.keys() and all(len(t.boxes) == FRAMES for t in found.values())
    assert {n: t.anomalous for n, t in found.items() if t.anomalous} == {3: tuple(range(5, 13))}
    assert narratives(six["1"])[0] == (OVERALL, "There are 4 objects.")
    assert narratives(six["4"])[0] == (OVERALL, "There are 2 objects.")


def test_an_object_that_misbehaves_twice_is_one_object_and_two_tracks(six):
    """As the authors' script counts tracks for TBDC; its pixels are in the mask in those frames alone."""
    first, second = six["2"].tracks
    assert (
        (first.id, second.id) == (3, 3)
        and first.anomalous == (0, 1, 2, 3)
        and second.anomalous == (10, 11, 12)
    )
    assert len(objects(six["2"])) == 1 and narratives(six["2"])[0] == (OVERALL, "There is 1 object.")
    lit = masks.read(six["2"].path(six["2"].mask)).any((1, 2))
    assert lit.nonzero()[0].tolist() == [0, 1, 2, 3, 10, 11, 12]


def test_who_else_is_there_is_not_said_where_a_map_is_missing(six):
    assert {t.id for t in six["3"].tracks} == {3, 9} and six["6"].tracks is None
    asked, answered = narratives(six["3"])[0]
    assert (asked, answered) == (UNUSUAL, "Yes, 2 objects behave unusually.")
    assert narratives(six["6"]) == [(UNUSUAL, "No, nothing unusual happens.")]
    with_names = [asked for asked, _ in narratives(six["3"])[1:]]
    assert with_names and all("the unusual object" in asked for asked in with_names)


@pytest.mark.parametrize(
    "texts",
    [
        Texts(kinds=[], narratives=True),
        Texts(kinds=[], dialogue=True),
        Texts(kinds=[], dialogue=True, form="figure"),
    ],
)
def test_no_video_drops_out_of_either_phase(six, texts):
    said = {name: ClipCollator(_Plain(), None, texts).conversations(sample) for name, sample in six.items()}
    assert all(said.values())
    words = json.dumps(said).lower()
    assert not any(word in words for word in WORDS_OF_LOOKS), "masks know nothing of looks"


class _Plain:
    """Branches that are not asked for questions."""


def test_the_dialogue_says_who_moves_where_and_when(six):
    assert dict(six["1"].dialogue) == {
        DIALOGUE["judgement"]: "Yes.",
        DIALOGUE["target"]: "An object that starts in the left.",
        DIALOGUE["motion"]: "It moves to the right, fast.",
        DIALOGUE["trajectory"]: "From the left to the middle.",
        DIALOGUE["cause"]: "From 0.50 to 1.30 s.",
    }
    assert dict(turns(six["3"], "talk"))[TALK["motion"]].startswith(
        "Target 1 moves to the right, fast; target 2 "
    )
    for name in "456":
        assert six[name].dialogue == ((DIALOGUE["judgement"], "No."),)
        assert turns(six[name], "talk") == ((TALK["judgement"], "No."),)


def test_shanghaitech_tells_of_its_targets_and_of_nobody_else(tmp_path):
    """Its tracks are those of anomalous objects: whoever else walks there is not counted."""
    root, tracks = write_shanghaitech(tmp_path)
    wrong, right = shanghaitech.read(root, "test", tmp_path / "out", tracks)[0]
    told = dict(narratives(wrong))
    assert told[UNUSUAL] == "Yes, 1 object behaves unusually." and OVERALL not in told
    assert dict(turns(wrong, "talk"))[TALK["trajectory"]] == "From the left to the middle."
    assert right.tracks is None and narratives(right) and right.dialogue == ((DIALOGUE["judgement"], "No."),)


@pytest.mark.slow
def test_a_real_video_of_ubnormal_with_the_maps_of_four(tmp_path):
    """451 frames of 1280 x 720 at 30 a second, as they come; the maps are ours, since the public copy of the
    video is without."""
    folder = shared("data/ubnormal")
    name = "normal_scene_28_scenario_7"
    root, lists = tmp_path / "UBnormal", tmp_path / "lists"
    notes = root / "Scene28/abnormal_scene_28_scenario_7_annotations"
    notes.mkdir(parents=True)
    (root / "Scene28/abnormal_scene_28_scenario_7.mp4").symlink_to(folder / f"{name}.mp4")
    clock, height, width = video.inspect(root / "Scene28/abnormal_scene_28_scenario_7.mp4")
    ids = maps_of({n: (10 * x, 0, 10 * y) for n, (x, _, y) in PEOPLE.items()}, 1, (height, width))[0]
    kept = cv2.imencode(".png", ids)[1].tobytes()
    for frame in range(len(clock)):
        (notes / f"abnormal_scene_28_scenario_7_{frame:04d}_gt.png").write_bytes(kept)
    (notes / "abnormal_scene_28_scenario_7_tracks.txt").write_text("3,60,90\n")
    lists.mkdir()
    (lists / "abnormal_validation_video_names.txt").write_text("abnormal_scene_28_scenario_7\n")
    (lists / "normal_validation_video_names.txt").write_text("")
    (sample,), problems = ubnormal.read(root, lists, "val", tmp_path / "out")
    assert not problems and (sample.video.frames, sample.video.width) == (451, 1280)
    assert narratives(sample)[0] == (OVERALL, "There are 4 objects.")
    assert sample.spans == ((2.0, pytest.approx(91 / 30)),)
    assert dict(turns(sample, "talk"))[TALK["motion"]] == "It does not move."


def test_the_turns_of_scenes_in_every_form(scenes):
    """The talk's five turns; the figure's one answer, whose parts are read back, and the surroundings."""
    for sample in load(scenes):
        known, stored = facts(sample), dict(sample.dialogue)
        talk, figure = dict(turns(sample, "talk")), turns(sample, "figure")
        assert turns(sample, "stored") == sample.dialogue
        assert figure[1] == (FIGURE["surroundings"], sample.description.removesuffix(f" {sample.rationale}"))
        parts = parts_of(figure[0][1])
        assert parts.pop("judgement") == talk[TALK["judgement"]] == ("Yes." if sample.anomalous else "No.")
        if sample.anomalous:
            assert talk[TALK["target"]] == stored[DIALOGUE["target"]] and len(talk) >= 4
            assert (
                parts == {topic: known[topic] for topic in parts}
                and {"target", "motion", "time"} <= parts.keys()
            )
        else:  # turns of the data's own words are not lost
            assert not parts and set(talk) - {TALK["judgement"]} == set(stored) - {DIALOGUE["judgement"]}
    assert any(TALK["features"] in dict(turns(s, "talk")) for s in load(scenes))


def test_a_dialogue_in_the_datas_own_words_stays():
    told = (("Is there an anomaly?", "Yes"), ("What does he carry?", "a ladder"))
    one = Sample("x", "mine", "test", Video("x.mp4"), "anomalous", dialogue=told)
    assert turns(one, "talk") == ((TALK["judgement"], "Yes"), told[1])
    unknown = Sample("x", "mine", "test", Video("x.mp4"), dialogue=told[1:])
    assert turns(unknown, "talk") == told[1:] and turns(Sample("x", "m", "t", Video("x")), "talk") == ()


def test_looks_are_told_once_something_fills_them():
    """As the construction pipeline will: of targets that are all described."""
    boxes = {f: (float(f), 0.0, f + 4.0, 9.0) for f in range(10)}
    look = "dressed in red"
    tracks = (Track(1, "man", boxes, tuple(range(5, 10)), look), Track(2, "dog", boxes, (7, 8)))
    one = Sample("x", "mine", "test", Video("x.mp4", 10.0, 10, 20, 20), "anomalous", tracks=tracks[:1])
    assert dict(turns(one, "talk"))[TALK["features"]] == "It is dressed in red."
    assert dict(turns(one, "talk"))[TALK["target"]] == "A man that starts in the middle."
    two = Sample("x", "mine", "test", Video("x.mp4", 10.0, 10, 20, 20), "anomalous", tracks=tracks)
    assert (
        TALK["features"] not in dict(turns(two, "talk")) and dialogue.facts(two)["target"].count("arget") == 2
    )
