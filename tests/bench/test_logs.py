"""Logs of other tools: an answer is counted for the question that it names, by video and words, and for no
other, whatever the order of its lines."""

import csv
import json
import random
import struct
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import shared

from bench import suite
from bench.__main__ import main
from bench.exchange import from_log
from bench.score import score
from tvad.common import cli
from tvad.common.errors import InputError


@pytest.fixture
def plan(scenes):
    return suite.read("scenes", ["--data", str(scenes), "--tasks", "[mcq]", "--resamples", "50"])


@pytest.fixture
def asked(plan):
    return suite.load(plan)[1]


def lmms_eval(items, path: Path) -> Path:
    """samples_TASK.jsonl as lmms-eval 0.7 writes it: the row without its media, the answer in lists."""
    rows = [
        {
            "doc_id": n,
            "doc": {
                "video": f"{item.sample.id}.mp4",
                "question": item.question.text,
                "options": [f"{'ABCD'[k]}. {o}" for k, o in enumerate(item.question.options)],
                "answer": item.question.answer,
            },
            "target": item.question.answer,
            "arguments": {"0": "…"},
            "resps": [[f"The answer is {item.question.answer}."]],
            "filtered_resps": [item.question.answer],
            "doc_hash": "0",
        }
        for n, item in enumerate(items)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vlmevalkit(items, path: Path) -> Path:
    """A table: a row a question, options as columns or as a list in text, the answer in "prediction"."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["index", "video", "question", "candidates", "answer", "prediction"])
        for n, item in enumerate(items):
            options = str(list(item.question.options))
            q = item.question
            writer.writerow([n, item.sample.id, q.text, options, q.options["ABCD".index(q.answer)], q.answer])
    return path


def inspect(items, path: Path) -> Path:
    """An .eval archive: a file a sample."""
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("header.json", json.dumps({"version": 2, "status": "success"}))
        for n, item in enumerate(items):
            content = [
                {"type": "video", "video": "x.mp4", "format": "mp4"},
                {"type": "text", "text": f"Watch.\n{item.question.text}\nA. …"},
            ]
            row = {
                "id": n,
                "epoch": 1,
                "input": [{"role": "system", "content": "."}, {"role": "user", "content": content}],
                "choices": list(item.question.options),
                "target": item.question.answer,
                "metadata": {"video": f"clips/{item.sample.id}.mp4"},
                "output": {"model": "m", "completion": item.question.answer},
            }
            packed.writestr(f"samples/{n}_epoch_1.json", json.dumps(row))
            packed.writestr(f"samples/{n}_epoch_2.json", json.dumps(row | {"epoch": 2}))
    return path


LOGS = {"lmms-eval": lmms_eval, "vlmevalkit": vlmevalkit, "inspect": inspect}


def test_an_archive_packed_as_inspect_packs_it(plan, asked, tmp_path):
    """With Zstandard, method 93: written by hand here, since zipfile writes it from Python 3.14 on only."""
    import pyarrow

    stored = inspect(asked[:2], tmp_path / "log.eval")
    packed = b""
    table = b""
    with zipfile.ZipFile(stored) as archive:
        names = archive.namelist()
        for name in names:
            text = archive.read(name)
            body = pyarrow.compress(text, "zstd", asbytes=True)
            sizes = (archive.getinfo(name).CRC, len(body), len(text), len(name))
            common = struct.pack("<HHHHHIIIHH", 63, 0, 93, 0, 0, *sizes, 0)
            table += b"PK\x01\x02" + b"\x3f\x00" + common
            table += struct.pack("<HHHII", 0, 0, 0, 0, len(packed)) + name.encode()
            packed += b"PK\x03\x04" + common + name.encode() + body
    end = struct.pack("<HHHHIIH", 0, 0, len(names), len(names), len(table), len(packed), 0)
    stored.write_bytes(packed + table + b"PK\x05\x06" + end)
    assert {i.compress_type for i in zipfile.ZipFile(stored).infolist()} == {93}
    assert from_log(stored, plan, "inspect", "mcq", tmp_path / "answers.jsonl")[0] == 2


@pytest.mark.parametrize("form", LOGS)
def test_a_perfect_log_in_any_order_is_perfect(form, plan, asked, tmp_path):
    """By its place in the file such a log scored 0.534."""
    shuffled = random.Random(1).sample(asked, len(asked))
    log = LOGS[form](shuffled, tmp_path / ("log.tsv" if form == "vlmevalkit" else "log.eval"))
    metrics, rejected = score(log, plan, tmp_path / "run", form=form, task="mcq")
    assert metrics["mcq.accuracy"].value == 1.0 and metrics["mcq.missing"].value == 0.0
    assert len(rejected) == (len(asked) if form == "inspect" else 0)
    assert all("epoch 2" in problem.reason for problem in rejected)
    count, _ = from_log(log, plan, form, "mcq", tmp_path / "answers.jsonl")
    assert count == len(asked)
    assert score(tmp_path / "answers.jsonl", plan, tmp_path / "again")[0] == metrics


def changed(row, **more):
    return row | {"doc": row["doc"] | more}


def columns(stem, options):
    return {f"{stem}{n}": option for n, option in enumerate(options)}


def test_what_vlmevalkit_writes_where_a_request_failed_is_no_answer(plan, asked, tmp_path):
    log = vlmevalkit(asked, tmp_path / "log.tsv")
    rows = log.read_text().splitlines()
    letter = asked[0].question.answer
    assert rows[1].endswith(f"\t{letter}")
    rows[1] = rows[1].removesuffix(letter) + "Failed to obtain answer via API."
    log.write_text("\n".join(rows) + "\n")
    count, problems = from_log(log, plan, "vlmevalkit", "mcq", tmp_path / "answers.jsonl")
    assert count == len(asked) - 1 and "holds no answer" in str(problems[0])


def test_what_is_no_question_of_the_suite_is_left_out(plan, asked, tmp_path):
    log = lmms_eval(asked, tmp_path / "log.jsonl")
    row = json.loads(log.read_text().splitlines()[0])
    options = row["doc"]["options"]
    cases = {
        json.dumps(changed(row, video="elsewhere.mp4")): "is no video of this suite",
        json.dumps(changed(row, question="What colour is the sky?")): "is not asked of that video",
        json.dumps(changed(row, options=options[::-1])): "options are others, or in another order",
        json.dumps(changed(row, options=options[:3])): "options are others",
        json.dumps({"doc_id": 0, "resps": [["A"]]}): "names no video",
        json.dumps({k: v for k, v in row.items() if "resps" not in k}): "holds no answer",
        json.dumps(changed(row, options="['it's")): "options cannot be read",
        json.dumps(changed(row, options="[" * 90_000)): "options cannot be read",
        json.dumps(changed(row, options=str(options[::-1]))): "in another order",
        # LongVideoBench's columns, NExT-QA's, and some that nobody knows.
        json.dumps(changed(row, options=None, **columns("option", options[::-1]))): "in another order",
        json.dumps(changed(row, options=None, **columns("a", options[::-1]))): "in another order",
        json.dumps(changed(row, options=None, **columns("reply_", options))): "options cannot be read",
        json.dumps(row | {"filtered_resps": ["A", "B"]}): "2 answers: the first one counts",
        "x" * (5 << 20): "more than 4194304 bytes",
        "not json": "not a JSON object",
        "[1]": "not an object",
        "[" * 3000: "not a JSON object",
    }
    log.write_text("\n".join([*cases, json.dumps(row), json.dumps(row)]))
    count, problems = from_log(log, plan, "lmms-eval", "mcq", tmp_path / "answers.jsonl")
    assert count == 1 and len(problems) == len(cases) + 2  # of two answers the first is kept, the row counts
    said = {int(p.where.rpartition(":")[2]): p.reason for p in problems}
    for n, words in enumerate(cases.values(), 1):
        assert words in said[n]
    assert "a second answer" in said[len(cases) + 2]
    log.write_text("{}\n")
    with pytest.raises(InputError, match=r"no answer could be used; the first: .*names no video"):
        from_log(log, plan, "lmms-eval", "mcq", tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def test_a_video_of_another_folder_is_another(plan, asked, tmp_path):
    """normal/01.mp4 and abnormal/01.mp4 are two, though their files have one name."""
    from bench.logs import rows_of

    first = asked[0]
    named = replace(first.sample, id="normal_01", video=replace(first.sample.video, path="normal/01.mp4"))
    items = [replace(first, id="normal_01#0", sample=named)]
    for video, used in (("abnormal/01.mp4", 0), ("data/normal/01.mp4", 1), ("01.mp4", 1), ("normal_01", 1)):
        log, problems = lmms_eval(items, tmp_path / "log.jsonl"), []
        row = json.loads(log.read_text())
        log.write_text(json.dumps(changed(row, video=video)))
        assert len(list(rows_of(log, items, "mcq", "lmms-eval", problems))) == used, video
        assert len(problems) == 1 - used
    both = [
        *items,
        replace(
            first, id="b", sample=replace(named, id="fire_01", video=replace(named.video, path="fire/01.mp4"))
        ),
    ]
    log.write_text(json.dumps(changed(row, video="01.mp4")))
    assert not list(rows_of(log, both, "mcq", "lmms-eval", problems))
    assert "may be fire_01 or normal_01" in problems[-1].reason


def test_an_archive_that_lies_of_its_sizes_is_refused(plan, tmp_path):
    bomb = tmp_path / "bomb.eval"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("samples/1_epoch_1.json", b"[" + b"0," * (20 << 20) + b"0]")
    tracemalloc.start()
    with pytest.raises(InputError, match="more than 16 MiB"):
        from_log(bomb, plan, "inspect", "mcq", tmp_path / "x.jsonl")
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_a_scoring_of_another_file_of_that_name_stays(plan, asked, tmp_path):
    rows = [json.dumps({"id": item.id, "task": "mcq", "response": "A"}) + "\n" for item in asked]
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.jsonl").write_text("".join(rows))
    score(tmp_path / "a/p.jsonl", plan, tmp_path / "run")
    with pytest.raises(InputError, match="choose another --out"):
        score(tmp_path / "b/p.jsonl", plan, tmp_path / "run")
    score(tmp_path / "a/p.jsonl", plan, tmp_path / "run")


def test_several_questions_of_a_video_are_told_apart_by_their_words(plan, asked, tmp_path):
    first = asked[0]
    longer = replace(first.question, text=f"{first.question.text} Think twice.", answer="B")
    twice = [first, replace(first, id="twin", question=longer)]
    from bench.logs import rows_of

    log, problems = lmms_eval(twice, tmp_path / "log.jsonl"), []
    rows = [row for _, row in rows_of(log, twice, "mcq", "lmms-eval", problems)]
    assert [row["id"] for row in rows] == [first.id, "twin"] and not problems
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    log.write_text("".join(json.dumps({**r, "doc": {"video": r["doc"]["video"]}}) + "\n" for r in lines))
    assert not list(rows_of(log, twice, "mcq", "lmms-eval", problems))
    assert all("does not say which" in p.reason for p in problems)


@pytest.mark.parametrize(
    "task, answers, metric",
    [("qa", 13, "mcq.missing"), ("cls", 21, "classification.missing"), ("tag", 5, "temporal.missing")],
)
def test_published_result_files_of_vau_r1(task, answers, metric, tmp_path, capsys):
    """In one command, without the videos."""
    folder = shared("data/vau_bench")
    log = folder / f"results/qwen2.5-vl-3b_msad_{task}.csv"
    given = ["--suite", "vau_bench_msad", "--data", str(folder / "test_msad.csv"), "--resamples", "50"]
    status = cli.guard(
        main, ["score", str(log), "--format", "vau-r1", *given, "--out", str(tmp_path / "run")]
    )
    said = capsys.readouterr()
    assert status == 0, said.err
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found[metric]["value"] == pytest.approx(1 - answers / 240)
    assert (tmp_path / "run/report.html").exists()
    # What the letters, classes and spans of the file earn, counted apart.
    lines = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    read = [line for line in lines if line["response"]]
    assert len(read) == answers and sum(line["parsed"] is not None for line in read) >= answers - 1


def test_a_table_without_its_videos_is_scored_and_not_run(tmp_path, capsys):
    data = str(shared("data/vau_bench") / "test_msad.csv")
    arguments = [
        "--suite",
        "vau_bench_msad",
        "--data",
        data,
        "--tasks",
        "[mcq]",
        "--out",
        str(tmp_path / "r"),
    ]
    assert cli.guard(main, ["run", "--model", "hf:tvad-tiny", *arguments]) == 2
    assert "Assault_2" in capsys.readouterr().err


def test_what_cannot_be_asked(plan, asked, tmp_path, scenes, capsys):
    log = lmms_eval(asked, tmp_path / "log.jsonl")
    given = ["--suite", "scenes", "--data", str(scenes), "--out", str(tmp_path / "run")]
    for more, words in (
        (["--task", "mcq"], "give its --format"),
        (["--format", "lmms-eval"], "--task"),
        (["--format", "lmms-eval", "--task", "mcqs"], "'mcqs' is none of"),
        (["--format", "vau-r1"], "no column of QA answer"),
        (["--format", "vau-r1", "--task", "judgement"], "no column of QA answer"),
    ):
        assert cli.guard(main, ["score", str(log), *given, *more]) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "qa.csv").write_text("Video Name,QA answer\nx.mp4,A\n")
    with pytest.raises(InputError, match="answers mcq by its column, not judgement"):
        from_log(tmp_path / "qa.csv", plan, "vau-r1", "judgement", tmp_path / "x.jsonl")
    for name, content in (
        ("none.csv", None),
        ("binary.csv", b"\xff\xfe\x00"),
        ("long.csv", b'"' + b"x" * 200_000),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            from_log(tmp_path / name, plan, "vau-r1", None, tmp_path / "x.jsonl")
    (tmp_path / "bad.eval").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="not an Inspect log"):
        from_log(tmp_path / "bad.eval", plan, "inspect", "mcq", tmp_path / "x.jsonl")
    with pytest.raises(InputError, match=r"missing.tsv: cannot be read"):
        from_log(tmp_path / "missing.tsv", plan, "vlmevalkit", "mcq", tmp_path / "x.jsonl")


def test_a_handed_out_task_of_lmms_eval_comes_back(plan, asked, tmp_path, scenes, monkeypatch):
    """Read as lmms-eval does: YAML with functions of the file beside it, rows by the data sets library."""
    import datasets
    import yaml

    from bench.handout import hand_out

    file, count = hand_out(plan, "mcq", "lmms-eval", tmp_path / "task")
    functions = {}
    exec(compile((tmp_path / "task/utils.py").read_text(), "utils.py", "exec"), functions)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: functions[node.value.removeprefix("utils.")])
    task = yaml.load(file.read_text(), Loader)
    data = datasets.load_dataset(
        task["dataset_path"], **task["dataset_kwargs"], cache_dir=str(tmp_path / "cache")
    )
    rows = list(data[task["test_split"]])
    assert len(rows) == count == len(asked)
    for row, item in zip(rows, asked, strict=True):
        (video,) = task["doc_to_visual"](row)
        assert Path(video) == item.sample.path(item.sample.video.path).resolve() and Path(video).exists()
        prompt = task["doc_to_text"](row)
        assert item.question.text in prompt and item.question.options[0] in prompt and "<answer>" in prompt
    shuffled = random.Random(0).sample(rows, len(rows))
    log = tmp_path / "samples.jsonl"
    log.write_text(
        "".join(json.dumps({"doc": r, "resps": [[r[task["doc_to_target"]]]]}) + "\n" for r in shuffled)
    )
    assert score(log, plan, tmp_path / "run", form="lmms-eval", task="mcq")[0]["mcq.accuracy"].value == 1.0
    # What the command of 0.7.2 writes: no row, what process_results gave, the answer as a bare text, and one
    # and the same hash for all.
    lines = [
        {
            "doc_id": n,
            "target": row["answer"],
            "filtered_resps": row["answer"],
            "token_counts": [{"output_tokens": 1}],
            "doc_hash": "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b",
            "input": task["doc_to_text"](row),
            **task["process_results"](row, [row["answer"]]),
        }
        for n, row in enumerate(shuffled)
    ]
    assert {metric["metric"] for metric in task["metric_list"]} == {"answered", "tvad_id"}
    assert task["metric_list"][1]["aggregation"](["a", "b"]) == 2
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, rejected = score(log, plan, tmp_path / "bare", form="lmms-eval", task="mcq")
    assert found["mcq.accuracy"].value == 1.0 and not rejected
    monkeypatch.setenv("TVAD_DATA", "/elsewhere")
    exec(compile((tmp_path / "task/utils.py").read_text(), "utils.py", "exec"), functions)
    assert functions["doc_to_visual"](rows[0])[0].startswith("/elsewhere/")


def test_a_handed_out_task_of_inspect_is_its_own(plan, asked, tmp_path):
    from bench.handout import hand_out

    file, count = hand_out(plan, "mcq", "inspect", tmp_path / "task")
    code = compile(file.read_text(), str(file), "exec")
    assert count == len(asked)
    pytest.importorskip("inspect_ai")
    found = {"__file__": str(file)}
    exec(code, found)
    task = found["tvad_scenes_mcq"]()
    assert [s.id for s in task.dataset] == [item.id for item in asked]


def test_what_cannot_be_handed_out(plan, tmp_path):
    from bench.handout import hand_out

    with pytest.raises(InputError, match="references are hidden"):
        hand_out(replace(plan, hidden=True), "mcq", "inspect", tmp_path)
    with pytest.raises(InputError, match="asks no 'temporal'"):
        hand_out(plan, "temporal", "inspect", tmp_path)
