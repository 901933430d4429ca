import json
from dataclasses import replace

import pytest
from conftest import shared

from bench import audit
from bench.__main__ import main
from bench.metrics.paired import holm, share_beyond, sign_flip
from bench.metrics.stats import mean_interval
from tvad.common.errors import InputError
from tvad.data import load, save
from tvad.data.sample import Question, Sample, Video


def findings(found):
    return {f.what: f for f in found.findings}


def test_the_published_msad_test_rows_are_flagged_for_the_letter_a():
    found = audit.audit(str(shared("data/vau_bench/test_msad.csv")))
    lines = findings(found)
    hits = int(lines['always "A"'].result.split("/")[0])
    assert abs(hits - 163) <= 2 and lines['always "A"'].flag and found.flagged and found.questions == 240
    assert not lines['always "C"'].flag and "chance 0.250" in lines["right letters"].result
    assert lines["text only, 5 folds by video"].flag


def test_a_train_split_gives_a_prior_and_shows_leaks():
    found = audit.audit(str(shared("data/vau_bench/test_msad.csv")), str(shared("data/vau_bench/val.csv")))
    lines = findings(found)
    assert (
        'prior of the train split ("A")' in lines
        and "text only, learned on the train split" in lines
        and "leaks from the train split" in lines
    )


def test_generated_scenes_are_balanced(scenes, tmp_path, capsys):
    found = audit.audit(str(scenes))
    lines = findings(found)
    assert not any(f.flag for name, f in lines.items() if name.startswith("always"))
    main(["audit", "--data", str(scenes), "--out", str(tmp_path / "audit.html")])
    page = (tmp_path / "audit.html").read_text()
    assert "right letters" in page and "right letters" in capsys.readouterr().out


def spoiled(scenes, folder):
    """The scenes with every defect that the audit looks for."""
    samples = [replace(s, root="") for s in load(scenes)]
    (folder / "videos").mkdir(parents=True)
    for n, sample in enumerate(samples):
        source = scenes / samples[0 if n == 1 else n].video.path  # the second video is the first one's file
        (folder / sample.video.path).write_bytes(source.read_bytes())
    question = Question("mcq", "What is it?", "A", ("a very long option that is right", "b", "c", "d"))
    samples = [replace(s, mask=None, questions=(question,)) for s in samples]
    samples[2] = replace(
        samples[2],
        categories=("fire",),
        label="anomalous",
        spans=((0.0, 1.0),),
        rationale="A person is running to the left.",
    )
    samples[3] = replace(samples[3], categories=("running",), label="anomalous", spans=((0.0, 99.0),))
    save(samples, folder)
    return folder


def test_every_defect_is_found(scenes, tmp_path):
    lines = findings(audit.audit(str(spoiled(scenes, tmp_path / "bad")), str(scenes)))
    assert lines['always "A"'].flag and lines["longest option"].flag
    assert lines["questions that occur more than once, options included"].flag
    assert lines["videos that are the same file"].result == "1" and lines["leaks from the train split"].flag
    assert any(
        "fire" in row and "running" in row for row in lines["rows whose class contradicts the rationale"].rows
    )
    assert any("ends after the video" in row for row in lines["spans outside the video"].rows)


def told(rationale, *categories):
    return Sample("v", "made", "test", Video("v.mp4"), categories=categories, rationale=rationale)


@pytest.mark.parametrize(
    ("categories", "rationale", "flagged"),
    [
        (("RoadAccidents",), "Two road accidents and then a robbery.", False),
        (("RoadAccidents",), "There is a robbery.", True),
        (("Fighting", "Robbery"), "There is a robbery.", False),
        (("Fighting", "Robbery"), "There is shoplifting.", True),
        (("Fighting",), "They don't rob; no robbery, only a push.", False),
        (("Fighting",), "Nothing unusual happens.", True),
        (("Normal",), "A piano falls in the casino during a robbery.", True),
        (("Normal",), "There is no robbery here.", False),
        (("normal_videos",), "All is normal, nobody fights.", False),
    ],
)
def test_classes_of_a_rationale_are_read_as_answers_are(categories, rationale, flagged):
    rest = [told(None, name) for name in ("RoadAccidents", "Robbery", "Fighting", "Shoplifting", "Normal")]
    assert bool(audit.contradictions([told(rationale, *categories), *rest])) == flagged


def test_an_unreadable_source_is_refused(tmp_path):
    (tmp_path / "samples.jsonl").write_text(json.dumps({"id": "x"}) + "\n")
    with pytest.raises(InputError, match="no readable row"):
        audit.audit(str(tmp_path))


def test_turned_signs_and_holm_by_hand():
    assert sign_flip([0, 0, 0, 0]) == 1.0
    assert sign_flip([-1] * 6) == pytest.approx(2 / 64)  # six videos lost, none won
    assert sign_flip([-1, -1, 0, 1]) == 1.0  # two lost, one won
    assert sign_flip([3, 1, -1]) == pytest.approx(6 / 8)  # as far from 0: +-5, twice +-3, but not +-1
    assert (
        holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        and holm([0.5, 0.9]) == [1.0, 1.0]
        and holm([]) == []
    )


def test_a_bootstrap_p_value_falls_with_the_evidence():
    rows = list(range(40))
    assert share_beyond([-0.2] * 40, rows, 0.0) < 0.001 and share_beyond([0.2] * 40, rows, 0.0) == 1.0
    mixed = [(-1) ** n * 1.0 for n in rows]
    assert 0.3 < share_beyond(mixed, rows, 0.0) < 0.7
    halves = [n % 2 for n in rows]
    assert mean_interval(halves, rows) == mean_interval(halves, rows)
