"""One reader of answers: what strangers' models write is read as a careful reader reads it, and what earns a
reward counts as right. Each folder of tests/cases/bench and tests/cases/train here is a public report."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import score, suite
from bench.answers import score_item
from bench.metrics.choice import letter
from bench.metrics.text import bleu4, rouge_l
from bench.models.base import Completion
from bench.models.baseline import Baseline
from bench.run import run
from bench.tasks import TASKS
from rft.rewards import REWARDS
from tvad.answer import Answer, Reading, judged, parse, read_classes, split
from tvad.answer.letters import read_letter
from tvad.common.errors import InputError
from tvad.data.sample import Question, Sample, Video

CASES = Path(__file__).parent
OPTIONS = ("A man steals a bicycle", "A man falls down", "A car hits a pedestrian", "Two people fight")
CLASSES = {
    "Abuse": ["abusing"],
    "Arrest": ["arresting"],
    "Arson": ["arson attack", "setting fire"],
    "Assault": ["assaulting"],
    "Burglary": ["break-in", "breaking in"],
    "Explosion": ["blast"],
    "Fighting": ["fight", "brawl"],
    "RoadAccidents": ["road accident", "car accident", "traffic accident", "car crash", "车祸", "交通事故"],
    "Robbery": ["robbing", "armed robbery", "抢劫"],
    "Shooting": ["gunshot", "枪击"],
    "Shoplifting": ["shop lifting"],
    "Stealing": ["theft", "盗窃"],
    "Vandalism": ["property damage"],
    "Normal": ["no anomaly", "正常"],
}
ROWS = [json.loads(line) for line in (CASES / "reader/siblings.jsonl").read_text("utf-8").splitlines()]
SAMPLE = Sample("x", "s", "test", Video("v.mp4"))


def scored(name: str, out: Path, *overrides: str) -> tuple[dict, list[dict]]:
    """Metrics and lines of a case's answers."""
    folder = CASES / "bench" / name
    plan = suite.read(str(folder / "suite.yaml"), ["--data", str(folder / "data"), *overrides])
    metrics, rejected = score.score(folder / "answers.jsonl", plan, out)
    assert not rejected
    lines = [json.loads(line) for line in (out / "samples.jsonl").read_text("utf-8").splitlines()]
    return {key: m.value for key, m in metrics.items()}, lines


def rewarded(name: str, text: str, solution: str, task: str, **columns) -> float | None:
    return REWARDS[name]([text], solution=[solution], task=[task], **{k: [v] for k, v in columns.items()})[0]


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("article-is-no-letter", "mcq.accuracy"),
        ("class-spelling", "classification.accuracy"),
        ("native-boxes", "spatial.miou"),
        ("other-think-tags", "mcq.accuracy"),
        ("same-option-twice", "mcq.accuracy"),
        ("chinese-answers", "judgement.accuracy"),
    ],
)
def test_the_case_is_read(name, metric, tmp_path):
    found, lines = scored(name, tmp_path)
    assert found[metric] == 1.0 and found[f"{metric.partition('.')[0]}.parse_failure"] == 0.0
    assert all("read" in line and "unread" not in line for line in lines if line["task"] != "rationale")


def test_a_rationale_without_spaces_is_compared_by_its_characters(tmp_path):
    found, _ = scored("chinese-answers", tmp_path)
    assert found["rationale.rouge_l"] == pytest.approx(32 / 34)
    for text in ("一名男子从左侧进入画面并突然摔倒在地", "Fire.", "A man falls.", "人が倒れる", "คนล้ม"):
        assert bleu4(text, [text], by="script") == pytest.approx(1.0) and rouge_l(text, text) == 1.0
    assert bleu4("Fire.", ["Fire."]) < 0.2, "by default as NLTK splits and smooths, for published figures"


def test_a_long_output_is_read_from_its_end():
    for count in (700, 810, 2500, 40_000):
        text = "The scene shows a street. " * count + "The answer is B."
        assert letter(parse(text).answer, OPTIONS) == "B"
    words = " ".join(f"w{n}" for n in range(6000))
    assert rouge_l(words, words) == 1.0
    assert rouge_l(words, words[: len(words) // 2]) == pytest.approx(rouge_l(words[: len(words) // 2], words))


def test_no_class_of_the_table_is_a_parse_failure_and_says_why(tmp_path):
    folder = tmp_path / "answers.jsonl"
    folder.write_text(
        "\n".join(
            json.dumps({"id": f"v{n}", "task": "classification", "response": f"<answer>{said}</answer>"})
            for n, said in enumerate(
                ["dancing", "not robbery", "robbery or fighting", "I cannot tell.", "", "x"]
            )
        )
    )
    case = CASES / "bench/class-spelling"
    plan = suite.read(str(case / "suite.yaml"), ["--data", str(case / "data")])
    metrics, _ = score.score(folder, plan, tmp_path / "out")
    found = {name.partition(".")[2]: m.value for name, m in metrics.items()}
    assert found["accuracy"] == 0.0 and found["parse_failure"] == 1.0
    reasons = {name: value for name, value in found.items() if name.startswith("unread_")}
    assert reasons == pytest.approx(
        {
            "unread_nothing_named": 2 / 6,
            "unread_denied": 1 / 6,
            "unread_several": 1 / 6,
            "unread_refused": 1 / 6,
            "unread_empty_answer": 1 / 6,
        }
    )


@pytest.mark.parametrize("row", ROWS, ids=[f"{n}" for n in range(len(ROWS))])
def test_answers_are_read_as_a_careful_reader_does(row):
    said = parse(row["text"]).answer
    if row["kind"] == "letter":
        found = letter(said, row.get("options", OPTIONS))
    elif row["kind"] == "yes_no":
        found = judged(said)
    elif row["kind"] == "box":
        boxes = parse(row["text"], reading=Reading(boxes=row["box_unit"])).boxes
        found = [[round(side) for side in box.xyxy] for box in boxes] or None
    else:
        found = sorted(read_classes(said, CLASSES).keys) or None
    assert found == row["label"], row["text"]


def corpus() -> list[tuple[str, str, tuple[str, ...] | None]]:
    """(task, text, options) of every answer that is at hand, the labelled corpus's included."""
    rows = ROWS + [
        json.loads(line)
        for path in sorted((CASES / "answers").glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    tasks = {"letter": "mcq", "yes_no": "judgement", "class": "classification", "box": "spatial"}
    return [
        (tasks[row["kind"]], row["text"], tuple(row.get("options", OPTIONS)))
        for row in rows
        if row["kind"] in tasks
    ]


def test_what_earns_a_reward_counts_as_right_and_the_other_way_round():
    """Over every answer at hand, bare, tagged, and given twice, against every reference."""
    references = {
        "mcq": "ABCD",
        "judgement": ("Yes", "No", "Anomaly", "Normal"),
        "classification": ("Robbery", "RoadAccidents", "Normal", "Fighting, Shooting", "3"),
        "spatial": ("man",),
    }
    table = [[name, *others] for name, others in CLASSES.items()]
    box = "<box>[100, 200, 300, 400]</box>"
    disagree = []
    for task, text, options in corpus():
        for said in (text, f"<think>x</think><answer>{text}</answer>", f"<answer>{text}</answer>" * 2):
            for wanted in references[task]:
                solution = f"<answer>{wanted}</answer>{box if task == 'spatial' else ''}"
                boxes = parse(solution).boxes
                question = Question(task, "?", wanted, options if task == "mcq" else None, boxes=boxes)
                item = suite.Item("x", task, SAMPLE, question, reading=Reading(classes=CLASSES))
                scores = score_item(item, said)["scores"]
                columns = {"options": list(options), "classes": table}
                name, metric = ("box", "miou") if task == "spatial" else ("answer", "accuracy")
                if rewarded(name, said, solution, task, **columns) != scores[metric]:
                    disagree.append((task, said, wanted))
                assert said != text * 2 or scores[metric] == 0.0
    assert not disagree


@pytest.mark.parametrize(
    ("text", "task", "solution", "paid"),
    [
        ("not B", "mcq", "B", 0.0),
        ("anything but B", "mcq", "B", 0.0),
        ("A, B and C", "mcq", "B", 0.0),
        ("1, 2, 3", "classification", "3", 0.0),
        ("2 or 3", "classification", "3", 0.0),
        ("not 3", "classification", "3", 0.0),
        ("3", "classification", "3", 1.0),
        ("3 cars", "classification", "3", 1.0),
        ("1/2", "classification", "0.5", 1.0),
        ("2 min", "classification", "120 s", 1.0),
        ("5 min", "classification", "5 s", 0.0),
        ("fire, car, dog", "spatial", "car", 0.0),
        ("A car", "spatial", "car", 1.0),
        ("man in red", "spatial", "A man in red", 1.0),
        ("Anomaly, Normal", "temporal", "Anomaly", 0.0),
        ("Yes", "temporal", "Anomaly", 1.0),
        ("Yes. The video is normal.", "judgement", "Yes", 0.0),
    ],
)
def test_lists_and_denials_earn_nothing(text, task, solution, paid):
    assert rewarded("answer", f"<answer>{text}</answer>", f"<answer>{solution}</answer>", task) == paid


def test_an_element_given_twice_is_unread_in_rewards_and_metrics():
    twice = "<answer>B</answer><answer>B</answer>"
    assert rewarded("answer", twice, "<answer>B</answer>", "mcq", options=list(OPTIONS)) == 0.0
    line = score_item(suite.Item("x", "mcq", SAMPLE, Question("mcq", "?", "B", OPTIONS)), twice)
    assert line["scores"]["accuracy"] == 0.0 and line["unread"] == "repeated_answer"


# Chat templates that open the reasoning in the prompt.
OPENED = [json.loads(line) for line in (CASES / "train/prefilled-think/rows.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("column", ["prompt_ends", "prompts"])
def test_where_the_prompt_opens_the_reasoning_the_completion_closes_it(column):
    paid = [
        rewarded("format", row["completion"], row["solution"], row["task"], **{column: row["prompt_ends"]})
        for row in OPENED
    ]
    assert paid == [1.0, 1.0, 1.0, 0.0]
    assert rewarded("format", OPENED[0]["completion"], OPENED[0]["solution"], "judgement") == 0.0
    twice = "<think>" + OPENED[0]["completion"]
    assert rewarded("format", twice, OPENED[0]["solution"], "judgement", prompt_ends="<think>\n") == 0.0
    for row in OPENED:
        columns = {column: row["prompt_ends"]}
        assert rewarded("answer", row["completion"], row["solution"], row["task"], **columns) == 1.0


def test_the_end_of_a_prompt_of_messages_counts_where_the_model_goes_on_with_it():
    user = {"role": "user", "content": "Is there an anomaly? <think>"}
    begun = [user, {"role": "assistant", "content": "<think>\n"}]
    row = OPENED[0]
    assert rewarded("format", row["completion"], row["solution"], row["task"], prompts=begun) == 1.0
    assert rewarded("format", row["completion"], row["solution"], row["task"], prompts=[user]) == 0.0


def test_a_suite_may_say_that_the_template_opens_the_reasoning():
    question = Question("judgement", "?", "Yes")
    plain = suite.Item("x", "judgement", SAMPLE, question)
    told = replace(plain, reading=Reading(opened=True))
    text = OPENED[0]["completion"]
    assert score_item(plain, text)["defects"] == ["unopened_think"]
    assert score_item(told, text)["defects"] == [] == score_item(plain, text, opened=True)["defects"]
    assert score_item(told, "He climbs, so yes")["unread"] == "unclosed_think"


class Opened(Baseline):
    """Answers as a model whose template has opened the reasoning."""

    def __init__(self, end):
        self.end = end

    def rendered(self, request):
        return f"… {self.end}"

    def sample(self, requests, sampling):
        return [[Completion("He climbs.</think><answer>Yes</answer>")] for _ in requests]


def test_an_engine_that_renders_its_prompts_says_how_they_end(scenes, tmp_path):
    plan = suite.Suite("s", str(scenes), ["judgement"], max_videos=2, resamples=10)
    for end, well_formed in (("<think>\n", 1.0), ("assistant\n", 0.0)):
        found = run(Opened(end), "m", plan, tmp_path / str(well_formed))
        assert found["judgement.well_formed"].value == well_formed


# Marks of reasoning.
@pytest.mark.parametrize(
    "text",
    [
        "<think>Maybe A.</think>B",
        "<thinking>Maybe A.</thinking>B",
        "<reasoning>Maybe A.</reasoning><answer>B</answer>",
        "[THINK]Maybe A.[/THINK]B",
        "◁think▷Maybe A.◁/think▷B",
        "<seed:think>Maybe A.</seed:think>B",
        "<|START_THINKING|>Maybe A.<|END_THINKING|>B",
        "<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
        "analysisMaybe A.assistantfinalB",
        "<think>Maybe A.</think><answer><|begin_of_box|>B<|end_of_box|></answer>",
        "Maybe A.</think>B",
        "<think>Maybe <think>A</think>, no C.</think>B",
        "<think>[THINK] is no mark here. A?</think>B<|im_end|>",
    ],
)
def test_no_letter_comes_out_of_the_reasoning(text):
    assert letter(parse(text).answer, OPTIONS) == "B"
    assert letter(parse(split(text)[1]).answer, OPTIONS) == "B"


@pytest.mark.parametrize(
    "text", ["<think>A it is", "[THINK]A it is", "◁think▷A", "<|channel|>analysis<|message|>A it is"]
)
def test_reasoning_that_never_ends_holds_no_answer(text):
    assert parse(text).answer is None and split(text)[1] == ""


def test_a_suite_names_further_marks():
    text = "<musing>A?</musing>B"
    told = Reading(reasoning=[["<musing>", "</musing>"]])
    assert parse(text).think is None and parse(text, reading=told).think == "A?"
    assert parse(text, reading=told).answer == "B"
    assert "other_think" in parse("<thinking>A?</thinking>B").defects
    kept = parse(
        "<thinking>A?</thinking><answer>B</answer>",
        "strict",
        Reading(reasoning=[["<thinking>", "</thinking>"]]),
    )
    assert kept.defects == () and kept.think == "A?", (
        "marks that the suite names are as good as the protocol's"
    )
    for wrong in ([["<a>"]], [["<a>", ""]], [["<a>", "<a>"]]):
        with pytest.raises(InputError, match="reasoning: expected"):
            Reading(reasoning=wrong)


# Boxes.
@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("permille", "[100, 200, 300, 400]"),
        ("permille", "<box>(100,200),(300,400)</box>"),
        ("permille", '<box>{"x": 100, "y": 200, "width": 200, "height": 200}</box>'),
        ("permille_yx", '```json\n[{"box_2d": [200, 100, 400, 300]}]\n```'),
        ("unit", "<box>[0.1, 0.2, 0.3, 0.4]</box>"),
        ("percent", "<box>[10%, 20%, 30%, 40%]</box>"),
        ("pixels", '```json\n[{"bbox_2d": [64, 72, 192, 144], "label": "man"}]\n```'),
        ("loc", "<loc0205><loc0102><loc0410><loc0307> man"),
    ],
)
def test_the_unit_of_boxes_is_the_suites(unit, text):
    told = Reading(boxes=unit, picture=[640, 360] if unit == "pixels" else None)
    (box,) = parse(text, reading=told).boxes
    assert box.xyxy == pytest.approx((100, 200, 300, 400), abs=0.5)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("permille", "[0.1, 0.2, 0.3, 0.4]"),
        ("permille", "[10%, 20%, 30%, 40%]"),
        ("permille", "<loc0205><loc0102><loc0410><loc0307>"),
        ("permille", "[100px, 200px, 300px, 400px]"),
        ("unit", "[100, 200, 300, 400]"),
        ("percent", "[0.1, 0.2, 0.3, 0.4]"),
        ("loc", "[100, 200, 300, 400]"),
    ],
)
def test_another_unit_than_the_suites_is_a_defect_and_no_box(unit, text):
    found = parse(f"<box>{text}</box>", reading=Reading(boxes=unit))
    assert found.boxes == () and "box_unit" in found.defects


def test_pixels_are_of_the_videos_own_picture_unless_the_suite_says_which(tmp_path):
    plan = suite.Suite("s", "data", ["spatial"], reading=Reading(boxes="pixels"))
    known = replace(SAMPLE, video=Video("v.mp4", width=640, height=360))
    assert suite.reader_of(plan, [known])(known).size == (640, 360)
    with pytest.raises(InputError, match=r"the size of 'x' is not known; set reading\.picture"):
        suite.reader_of(plan, [SAMPLE])(SAMPLE)
    with pytest.raises(InputError, match=r"reading\.picture: of boxes in pixels"):
        suite.Suite("s", "data", ["spatial"], reading=Reading(picture=[640, 360]))
    resized = replace(plan, reading=Reading(boxes="pixels", picture=[644, 364]))
    assert suite.reader_of(resized, [SAMPLE])(SAMPLE).size == (644, 364)
    assert resized.digest([]) != plan.digest([]) != replace(plan, reading=Reading()).digest([])


def test_more_boxes_than_asked_for_count_against_the_mean():
    two = "<box>(100,200),(300,400)</box><box>(500,550),(700,900)</box>"
    solution = "<answer>man</answer><box>[100, 200, 300, 400]</box>"
    assert rewarded("box", two, solution, "spatial") == 0.5


# Classes.
def test_classes_of_the_data_are_known_and_the_suite_adds_their_other_names():
    def asked(answer, **more):
        return replace(SAMPLE, questions=(Question("classification", "?", answer),), **more)

    samples = [
        asked("RoadAccidents"),
        asked("Fighting, Shooting", categories=("Fighting", "Shooting")),
        asked("3"),
    ]
    plan = suite.Suite(
        "s", "data", ["classification"], reading=Reading(classes={"Road accidents": ["crash"]})
    )
    table = suite.reader_of(plan, samples)(samples[0]).classes
    assert table == {"Fighting": [], "Shooting": [], "RoadAccidents": ["Road accidents", "crash"]}
    assert read_classes("There is a crash.", table).keys == ("RoadAccidents",)
    with pytest.raises(InputError, match="'Theft' names both 'Robbery' and 'Stealing'"):
        Reading(classes={"Robbery": ["theft"], "Stealing": ["Theft"]})


@pytest.mark.parametrize(
    "name", ["Not fighting", "Fire or smoke", "Unknown", "?!", "Is it safe?", "No anomaly"]
)
def test_a_references_own_words_are_always_right(name):
    table = {name: [], "Fighting": [], "Fire": []}
    question = Question("classification", "?", name)
    answer = Answer(answer=name, reading=Reading(classes=table))
    assert TASKS["classification"].score(answer, question, SAMPLE)["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("said", "accuracy", "jaccard"),
    [
        ("Fighting and shooting", 1.0, 1.0),
        ("Fighting", 1.0, 0.5),
        ("Fighting, Robbery", 0.0, 1 / 3),
        ("Fighting or shooting", 0.0, 0.0),
    ],
)
def test_of_several_classes_any_is_right_and_the_set_is_scored_beside_it(said, accuracy, jaccard):
    question = Question("classification", "?", "Fighting, Shooting")
    answer = Answer(answer=said, reading=Reading(classes=CLASSES))
    found = TASKS["classification"].score(answer, question, SAMPLE)
    assert (found["accuracy"], found["jaccard"]) == (accuracy, pytest.approx(jaccard))


# Letters.
def test_ten_options_and_options_with_one_text():
    many = [f"thing number {n} of many" for n in range(10)]
    assert [letter(f"The answer is {key}.", many) for key in "ABCDEFGHIJ"] == list("ABCDEFGHIJ")
    assert letter("I think thing number 9 of many", many) == "J" and letter("I think so", many) is None
    same = Question("mcq", "?", "B", ("A man falls", "A man falls.", "Two people fight"))
    for said, right in (("A", 1.0), ("B", 1.0), ("a man falls", 1.0), ("C", 0.0)):
        assert TASKS["mcq"].score(Answer(answer=said), same, SAMPLE)["accuracy"] == right


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "nothing_said"),
        ("A or B", "several"),
        ("B. Two people fight", "several"),
        ("Not B.", "denied"),
        ("I cannot see the video.", "refused"),
        ("A man walks by.", "nothing_named"),
    ],
)
def test_a_letter_that_is_not_read_has_a_reason(text, reason):
    assert read_letter(text, OPTIONS).reason == reason


def test_numbers_as_options_are_whole_numbers():
    times = ("1", "5", "1.5", "15")
    assert [letter(f"It lasts {said} s", times) for said in times] == list("ABCD")
    assert letter("2.5", times) is None and letter("1, 5", times) is None
