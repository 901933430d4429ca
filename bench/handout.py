"""A suite's questions as a task of another harness, so that its users ask them of the models that it knows;
its log comes back through `bench score --format`. The folder holds the questions and a few lines of Python
that read them; videos stay where they are (another machine's place: the environment's TVAD_DATA).
"""

import json
import re
from pathlib import Path

from bench.suite import Item, Suite, load
from tvad.common.errors import InputError
from tvad.common.files import made, write_whole
from tvad.prompts import asked

QUESTIONS = "questions.jsonl"
_READ = '''"""Made by `bench handout`; scored by `bench score LOG --format {form} --task {task}`."""

import json
import os
from pathlib import Path

DATA = Path(os.environ.get("TVAD_DATA", {data}))
'''
_LMMS_EVAL = (
    _READ
    + """

def doc_to_visual(doc):
    return [str(DATA / doc["video"])]


def doc_to_text(doc, lmms_eval_specific_kwargs=None):
    return doc["prompt"]


# The command of lmms-eval 0.7 leaves the row out of its log, and all that is returned here in.
def process_results(doc, results):
    return {{"answered": float(bool(results[0].strip())), "tvad_id": doc["tvad_id"]}}


def count(ids):
    return len(ids)
"""
)
_INSPECT = (
    _READ
    + """

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessageUser, ContentText, ContentVideo, GenerateConfig
from inspect_ai.solver import generate

QUESTIONS = Path(__file__).with_name("questions.jsonl")


def _sample(doc):
    video = ContentVideo(video=str(DATA / doc["video"]), format="mp4")
    content = [video, ContentText(text=doc["prompt"])]
    known = {{"video": doc["video"], "question": doc["question"]}}
    return Sample([ChatMessageUser(content=content)], target=doc["answer"], id=doc["tvad_id"], metadata=known)


@task
def {name}():
    lines = QUESTIONS.read_text(encoding="utf-8").splitlines()
    samples = [_sample(json.loads(line)) for line in lines]
    config = GenerateConfig(max_tokens={max_tokens}, temperature={temperature})
    return Task(dataset=MemoryDataset(samples, name="{name}"), solver=generate(), config=config)
"""
)
FORMS = ("lmms-eval", "inspect")


def _prompt(item: Item, style: str) -> str:
    """All that is said to a model, as one text: harnesses take no system message of a task."""
    turns = asked(item.question, style, boxes=item.reading.unit)
    parts = [part for turn in turns for part in turn["content"]]
    return "\n\n".join(part["text"] for part in parts if part["type"] == "text")


def hand_out(suite: Suite, task: str, form: str, out: str | Path) -> tuple[Path, int]:
    """Write the folder of one of FORMS; returns the file that its harness is given, and how many questions it
    asks. Raises InputError for hidden references, for a task that the suite does not ask, and for questions
    that follow others."""
    if suite.hidden:
        raise InputError(f"suite {suite.name}: its references are hidden")
    items = [item for item in load(suite)[1] if item.task == task]
    if not items:
        raise InputError(f"--task: suite {suite.name} asks no {task!r}")
    if any(item.earlier or item.masked for item in items):
        raise InputError(f"--task: {task} needs earlier answers or changed clips, which a harness has not")
    for sample in {item.sample.id: item.sample for item in items}.values():
        if not sample.path(sample.video.path).is_file():
            raise InputError(f"{sample.id}: {sample.video.path} is no video file, which a harness needs")
    folder = made(Path(out))
    name = re.sub(r"\W+", "_", f"tvad_{suite.name}_{task}")
    rows = [
        {
            "tvad_id": item.id,
            "video": item.sample.video.path,
            "question": item.question.text,
            "options": list(item.question.options or ()),
            "answer": item.question.answer,
            "prompt": _prompt(item, suite.prompt),
        }
        for item in items
    ]
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    questions = write_whole(folder / QUESTIONS, text)
    root = json.dumps(str(Path(items[0].sample.root).resolve()), allow_nan=False)
    known: dict[str, object] = {"form": form, "task": task, "data": root, "name": name}
    known |= {"max_tokens": suite.decode.max_tokens, "temperature": suite.decode.temperature}
    if form == "inspect":
        return write_whole(folder / f"{name}.py", _INSPECT.format(**known)), len(rows)
    write_whole(folder / "utils.py", _LMMS_EVAL.format(**known))
    sampled = suite.decode.temperature > 0
    plan = f"""# Made by `bench handout`: lmms-eval --tasks {name} --include_path THIS_FOLDER --log_samples …
dataset_path: json
dataset_kwargs:
  data_files: {{test: {json.dumps(str(questions.resolve()), allow_nan=False)}}}
task: {name}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.doc_to_visual
doc_to_text: !function utils.doc_to_text
doc_to_target: answer
generation_kwargs:
  max_new_tokens: {suite.decode.max_tokens}
  temperature: {suite.decode.temperature}
  do_sample: {str(sampled).lower()}
process_results: !function utils.process_results
metric_list:
  - {{metric: answered, aggregation: mean, higher_is_better: true}}
  - {{metric: tvad_id, aggregation: !function utils.count, higher_is_better: true}}
metadata:
  - version: 0.0
"""
    return write_whole(folder / f"{name}.yaml", plan), len(rows)
