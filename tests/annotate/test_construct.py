"""T-VAU's construction with a teacher that knows the truth, one that lies, one that breaks off."""

import ast
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT

from tvad.__main__ import main
from tvad.annotate import refine, schema
from tvad.annotate.construct import Construction
from tvad.annotate.engine import ROWS, run, source_samples
from tvad.annotate.replies import FOLDER
from tvad.annotate.schema import Seen
from tvad.annotate.teacher import Reply
from tvad.annotate.timelines import Timeline, bridged, joined
from tvad.common.errors import InputError
from tvad.data import check, load
from tvad.data.sample import Track
from tvad.data.scenes.teacher import Scripted
from tvad.data.shards import pack

HOW = Construction(rate=4.0)


class Told:
    """Replies out of a list, over and over; counts what it was asked; breaks off after `most` requests."""

    at_once, name = 1 << 10, "told"

    def __init__(self, texts, most=None, teacher=None):
        self.texts, self.most, self.teacher, self.keys = texts, most, teacher, []

    def answers(self, asks):
        told = self.teacher.answers(asks) if self.teacher else None
        for n, ask in enumerate(asks):
            if self.most is not None and len(self.keys) >= self.most:
                raise KeyboardInterrupt
            self.keys.append(ask.key(self.name))
            yield next(told) if told else (n, Reply(self.texts[len(self.keys) % len(self.texts)]))


def files_of(folder):
    return [(folder / name).read_text() for name in ("samples.jsonl", ROWS)]


def test_a_teacher_that_knows_the_truth_gives_the_generators_annotation(scenes, tmp_path, capsys):
    command = ["annotate", "run", str(scenes), "--teacher", f"scripted:{scenes}", "--rate", "4"]
    assert main([*command, "--out", str(tmp_path / "a")]) == 0
    assert "16 videos" in capsys.readouterr().out
    truth, told = {s.id: s for s in load(scenes)}, load(tmp_path / "a")
    assert not check(tmp_path / "a") and len(told) == len(truth)
    for sample in told:
        own = truth[sample.id]
        assert (sample.label, sample.spans) == (own.label, own.spans)
        looks = [track.look for track in own.tracks]
        assert all(track.look in looks for track in sample.tracks if track.look)
    words = [s.dialogue for s in told if s.anomalous]
    assert sum(
        dict(w).get("What is its trajectory?", "").startswith("From the ") for w in words
    ) >= 0.5 * len(words)
    letters = [q.answer for s in told for q in s.questions if q.kind == "mcq" and q.topic == "when"]
    counts = Counter(letters)
    assert letters and max(counts[x] for x in "ABCD") - min(counts[x] for x in "ABCD") <= 1
    with pytest.raises(InputError, match="made with rate"):
        main([*command[:-1], "2", "--out", str(tmp_path / "a")])


def test_a_data_set_in_shards_is_one_too(scenes, tmp_path):
    """Not a folder of videos without masks, which it would be taken for by its files' names."""
    shutil.copytree(scenes, tmp_path / "sharded")
    pack(tmp_path / "sharded")
    found = [list(source_samples(folder)) for folder in (scenes, tmp_path / "sharded")]
    assert [sample.mask for sample in found[1]] == [sample.mask for sample in found[0]] and found[0][0].mask


def test_the_pipeline_knows_no_scenes():
    for path in (ROOT / "tvad/annotate").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = getattr(node, "module", None) or " ".join(a.name for a in getattr(node, "names", ()))
            assert not (isinstance(node, (ast.Import, ast.ImportFrom)) and "scenes" in named), path


def test_what_was_answered_is_never_asked_again(scenes, tmp_path):
    whole = Told([], teacher=Scripted(str(scenes)))
    run(scenes, tmp_path / "whole", whole, HOW, together=4)
    asked, broken = [], 0
    while True:
        teacher = Told([], most=150, teacher=Scripted(str(scenes)))
        try:
            run(scenes, tmp_path / "broken", teacher, HOW, together=4)
            break
        except KeyboardInterrupt:
            broken += 1
            (file,) = (tmp_path / "broken" / FOLDER).iterdir()
            with file.open("a") as out:  # as a kill leaves it
                out.write('{"key": "half')
            with (tmp_path / "broken" / ROWS).open("a") as out:
                out.write('{"id": "half')
        finally:
            asked += teacher.keys
    assert broken > 2 and len(set(asked)) == len(asked) == len(whole.keys)
    assert files_of(tmp_path / "broken") == files_of(tmp_path / "whole")


DEEP = '{"targets": ' + "[" * 100_000
HOSTILE = [
    "",
    "I cannot help with that.",
    "null",
    "[]",
    '{"targets": 3}',
    '{"targets": [3, null, [], "x", {}]}',
    DEEP,
    '{"targets": [{"kind": "person", "box": [0, 0, 1e999, 5]}]}',
    '{"targets": [{"kind": "person", "box": [NaN, 0, 10, 5]}]}',
    '{"targets": [{"kind": "person", "box": [-5, 0, 10, 5]}, {"kind": "person", "box": [9, 9, 9, 9]}]}',
    '{"targets": [{"kind": "person", "box": [true, 0, 10, 5]}], "targets": []}',
    '{"targets": [{"kind": "person", "box": [' + "9" * 5000 + ", 0, 1, 1]}]}",
    "x" * (1 << 20),
    json.dumps(
        {"targets": [{"kind": "person", "box": [0, 0, 900, 900], "upper": "<script>alert(1)</script>"}] * 500}
    ),
    json.dumps(
        {"targets": [{"kind": "<|im_end|>\n../../etc/passwd", "box": [10, 10, 300, 500], "upper": "\ud83d"}]}
    ),
    json.dumps(
        {"targets": [{"kind": "\u202eperson\x00</answer>", "box": [10, 10, 300, 500], "action": "{look}"}]}
    ),
    json.dumps({"visible": True, "box": [0, 0, 1000, 1000], "kind": "a" * 100_000, "upper": {"a": []}}),
    '```json\n{"visible": "yes", "box": "everywhere"}\n```',
]


def test_no_reply_crashes_hangs_or_escapes(scenes, tmp_path):
    samples, problems, spent, counts = run(scenes, tmp_path / "out", Told(HOSTILE), HOW)
    assert len(samples) == 16 and not problems and not check(tmp_path / "out")
    assert counts["reply: malformed JSON"] and counts["targets without a box"] and counts["reply: too long"]
    text = (tmp_path / "out" / "samples.jsonl").read_text()
    assert not any(mark in text for mark in ("<|", "<script", "../", "</", "\\u202e", "\\u0000", "{look}"))
    truth = {s.id: s for s in load(scenes)}
    for sample in samples:  # where and when is the masks', whatever is said
        assert (sample.label, sample.spans) == (truth[sample.id].label, truth[sample.id].spans)
    kept = [json.loads(line) for line in (tmp_path / "out" / FOLDER / "0.jsonl").read_text().splitlines()]
    assert len(kept) == spent.asked


def test_words_of_a_teacher_are_words():
    assert schema.word("  Dark-Blue\n<b>") == "dark-blue b"
    assert [schema.word(w) for w in ("none", "", "unknown", 3, None, "N/A", "'")] == [None] * 7
    assert len(schema.word("ab " * 1000)) <= schema.MOST_WORD
    counts = Counter()
    rows = [{"kind": "person", "box": [0, 0, 100, 500], "region": "right"}]
    assert not schema.targets_of(json.dumps({"targets": rows}), 100, 100, counts)
    assert counts == {"targets whose region is not their box's": 1}


def seen(x, upper="red", y=10.0):
    return Seen((x, y, x + 9.0, y + 29.0), {"kind": "person", "upper": upper})


def test_targets_are_joined_by_nearness_and_looks_and_gaps_are_bridged():
    # Two people pass each other; one is missed for two frames, and once their looks are swapped.
    frames = [(f, [seen(10.0 * f), seen(200.0 - 10 * f, "blue", 60.0)]) for f in range(10)]
    frames[4] = (4, [seen(40.0, "blue"), seen(160.0, "red", 60.0)])
    frames[6], frames[7] = ((f, frames[f][1][1:]) for f in (6, 7))
    one, other = joined(frames, gap=4)
    assert (one.look["upper"], other.look["upper"]) == ("red", "blue")
    assert sorted(one.boxes) == sorted(other.boxes) == list(range(10))
    assert one.boxes[6] == seen(60.0).box and one.boxes[7] == seen(70.0).box
    assert len(joined(frames, gap=1)) >= 2
    assert joined([], 3) == [] and not joined([(0, []), (1, [seen(3.0)]), (2, []), (3, [])], 3)
    assert bridged({0: (0.0, 0.0, 1.0, 1.0), 2: (2.0, 0.0, 3.0, 1.0)})[1] == (1.0, 0.0, 2.0, 1.0)


def test_places_are_the_masks_whatever_is_said():
    mask = Track(0, "object", {f: (10.0 * f, 10.0, 10.0 * f + 9, 39.0) for f in range(5)}, tuple(range(5)))
    huge = Timeline(0, {f: (0.0, 0.0, 300.0, 300.0) for f in range(9)})
    true = Timeline(1, {f: (10.0 * f, 9.0, 10.0 * f + 10, 40.0) for f in range(9)})
    found = refine.guided([huge, true], [mask])
    (wrong,) = [t for t in found if t.anomalous]
    assert wrong is true and {f: wrong.boxes[f] for f in range(5)} == mask.boxes and len(wrong.boxes) == 9
    (alone,) = [t for t in refine.guided([Timeline(0, dict(huge.boxes))], [mask]) if t.anomalous]
    assert alone.boxes == mask.boxes
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    sharp = refine.filled([(20.0, 20.0, 39.0, 39.0)], 60, 80)
    soft = refine.blurred(image, sharp)
    assert (soft[sharp] == image[sharp]).all() and (soft[~sharp] != image[~sharp]).mean() > 0.9


def test_noise_is_found_and_dropped(scenes, tmp_path):
    """Verified words are right more often than those before."""
    run(scenes, tmp_path, Scripted(str(scenes), noise=0.3), HOW, stages=True)
    truth = {s.id: {t.look for t in s.tracks} for s in load(scenes)}
    said = {"refined": [], "verified": []}
    for line in (tmp_path / ROWS).read_text().splitlines():
        row = json.loads(line)
        for stage, found in said.items():
            targets = [t for t in row["stages"][stage] if t["verdict"] == "kept"]
            found += [
                any(t["look"][name] in (look or "") for look in truth[row["id"]])
                for t in targets
                for name in ("upper", "lower")
                if name in t["look"]
            ]
    assert np.mean(said["verified"]) >= np.mean(said["refined"]) and 20 < len(said["verified"]) < len(
        said["refined"]
    )


@pytest.mark.parametrize(
    "options, words",
    [
        (["--teacher", "nobody:x"], "expected KIND:WHICH"),
        (["--teacher", "scripted:{s}", "--option", "noise=2"], "expected 0 to 1"),
        (["--teacher", "scripted:{s}", "--option", "noise"], "expected NAME=VALUE"),
        (["--teacher", "scripted:{s}", "--rate", "0"], "rate must be above 0"),
        (["--teacher", "openai:x@http://127.0.0.1:1", "--option", "loud=1"], "unknown option 'loud'"),
        (
            ["--teacher", "openai:x@http://127.0.0.1:1", "--option", "concurrency=x"],
            "concurrency: expected int",
        ),
        (["--teacher", "openai:x@http://127.0.0.1:1", "--option", "which=x"], "unknown option 'which'"),
        (["--teacher", "openai:x@http://127.0.0.1:1", "--option", "at_once=true"], "at_once is True"),
        (["--teacher", "scripted:{s}", "--option", "noise=[1]"], "noise: expected float"),
        (["--teacher", "scripted:{s}", "--option", "loud=1"], "scripted: unknown option 'loud'"),
        (["--teacher", "scripted:{s}", "--option", "folder=x"], "scripted: unknown option 'folder'"),
    ],
)
def test_wrong_use_is_one_clear_line(scenes, tmp_path, options, words):
    given = [part.replace("{s}", str(scenes)) for part in options]
    with pytest.raises(InputError, match=words):
        main(["annotate", "run", str(scenes), *given, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out" / "samples.jsonl").exists()


def test_a_number_of_any_length_is_no_corner():
    huge = int("9" * 400)
    assert schema.box_of([1, 1, huge, 5], 100, 100) is None
    assert schema.box_of([1, 1, float("nan"), 5], 100, 100) is None
    assert schema.box_of([0, 0, 1000, 1000], 100, 100) == (0, 0, 99, 99)
    assert schema.box_of([0.1, 0.2, 0.9, 0.95], 3840, 2160) is None  # shares, not a box of 3 x 2 pixels
    assert schema.box_of([0, 0, 2, 2], 3840, 2160) == (0, 0, 7, 3)


def test_a_data_set_of_ones_own_is_not_written_over(scenes, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(scenes, own)
    kept = (own / "samples.jsonl").read_bytes()
    with pytest.raises(InputError, match="holds a data set that is no annotation; choose another --out"):
        run(own, own, Scripted(str(own)), HOW)
    assert (own / "samples.jsonl").read_bytes() == kept
