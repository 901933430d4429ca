"""docs/schema.md: every key of a sample stands there, and each of its examples is a sample that a suite
asks."""

import dataclasses
import json
import re

import pytest
from conftest import ROOT

from bench import suite
from bench.tasks import NAMES, TASKS
from tvad.answer import Box
from tvad.data import save
from tvad.data.sample import Question, Sample, Track, Video, from_json, to_json

PAGE = (ROOT / "docs/schema.md").read_text()
TITLES = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", PAGE, re.M | re.S))


def rows_of(cls):
    section = re.search(rf"^## {cls.__name__}\n(.*?)(?=^## )", PAGE, re.M | re.S)[1]
    return {
        row[1]: row for row in re.finditer(r"^\| `(\w+)` \| (.+?) \| (.*?) ?\| (.*?) ?\|$", section, re.M)
    }


@pytest.mark.parametrize("cls", [Sample, Video, Track, Question, Box])
def test_every_key_is_described_and_no_other(cls):
    fields = {field.name: field for field in dataclasses.fields(cls) if field.name != "root"}
    rows = rows_of(cls)
    assert set(rows) == set(fields)
    for name, field in fields.items():
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        assert ("*needed*" in rows[name][2]) == needed, name


def test_every_task_has_an_example():
    """But those that ask about another's sample in other words."""
    assert set(TITLES) == set(NAMES) - {"mcq_circular", "dialogue_talk", "dialogue_figure"}


@pytest.mark.parametrize("task", TITLES)
def test_an_example_is_a_sample_that_the_task_asks(task, tmp_path):
    data = json.loads(re.search(r"```json\n(.*?)```", TITLES[task], re.S)[1])
    sample = from_json(data, str(tmp_path), task)
    assert sample.problems() == [] and from_json(to_json(sample)) == sample
    save([sample], tmp_path)
    plan = suite.Suite("own", str(tmp_path))
    samples, items = suite.load(plan)
    tasks = suite.tasks_of(plan, samples)
    if task == "faithfulness":  # asks once more, so only where it is named
        assert task not in tasks
        items = suite.load(dataclasses.replace(plan, tasks=[task]))[1]
    else:
        assert task in tasks
    if task in TASKS:
        assert task in {item.task for item in items}
        assert all(item.question.solution() for item in items)


def test_the_example_of_several_spans_has_several():
    data = json.loads(re.search(r"```json\n(.*?)```", TITLES["temporal"], re.S)[1])
    sample = from_json(data)
    assert len(sample.spans) == len(sample.span_categories) == len(sample.questions[0].spans) == 2
