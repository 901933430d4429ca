"""vLLM and transformers as teachers: the replies of vLLM are held to the schema, those of transformers are
read as they are written, and what is no JSON is counted, never guessed."""

import json

import numpy as np
import pytest
from conftest import SHIPPED

from bench.teachers import EngineTeacher
from tvad.annotate.construct import Construction
from tvad.annotate.engine import run
from tvad.annotate.replies import FOLDER
from tvad.annotate.schema import object_of, read_object
from tvad.annotate.teacher import Ask, opened
from tvad.common.errors import InputError
from tvad.data import video

# So short that a model that was never trained comes to its end.
SCHEMA = object_of(visible={"type": "boolean"}, side={"type": "string", "enum": ["left", "right"]})


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), np.uint8)
    video.write(folder / "v.mp4", images, 4.0)
    return folder


def asks(count=3, max_tokens=64):
    images = np.random.default_rng(1).integers(0, 255, (count, 1, 64, 64, 3), np.uint8)
    return [Ask("Where is it? Answer with JSON.", SCHEMA, i, (0.5,), max_tokens) for i in images]


def test_vllms_replies_are_held_to_the_schema(engine):
    teacher = EngineTeacher(engine, "vllm:tiny", at_once=2)
    replies = dict(teacher.answers(asks()))
    assert sorted(replies) == [0, 1, 2] and all(r.tokens_in and r.tokens_out for r in replies.values())
    for reply in replies.values():
        assert reply.failed is None
        row = json.loads(reply.text)
        assert (
            row.keys() == {"visible", "side"}
            and type(row["visible"]) is bool
            and row["side"] in ("left", "right")
        )
    for _, reply in teacher.answers(asks(max_tokens=2)):
        assert reply.failed == "cut (length)"


def test_what_vllm_does_not_end_is_counted_and_the_video_set_aside(engine, films, tmp_path):
    """So small a model keeps to the form and finds no end of a word."""
    how = Construction(rate=1.0, checks=0, max_tokens=48)
    with pytest.raises(InputError, match=r"2 of 2 frames have no reply that can be read \(reply: cut"):
        run(films, tmp_path / "out", EngineTeacher(engine, "vllm:tiny"), how)
    kept = [json.loads(line) for line in (tmp_path / "out" / FOLDER / "0.jsonl").read_text().splitlines()]
    assert len(kept) == 2 and all(reply["failed"] == "cut (length)" for reply in kept)
    assert all(reply["text"].startswith('{"targets": [{"kind": "') for reply in kept)


def test_transformers_replies_are_read_as_they_are_written(films, tmp_path):
    teacher = opened(f"hf:{SHIPPED}", {"at_once": 2})
    replies = dict(teacher.answers(asks()))
    assert sorted(replies) == [0, 1, 2] and all(r.tokens_out for r in replies.values())
    for reply in replies.values():  # a model of answers in the protocol, which has no grammar to hold it
        with pytest.raises(ValueError, match="JSON"):
            read_object(reply.text)
    how = Construction(rate=1.0, checks=0, max_tokens=32)
    with pytest.raises(InputError, match="2 of 2 frames have no reply that can be read"):
        run(films, tmp_path / "out", teacher, how)
    assert not (tmp_path / "out/samples.jsonl").exists()
