"""VAU-R1's published numbers: every golden item and batch exactly, and the rules by hand."""

import json

import pytest
from conftest import golden

from bench.metrics import vau_r1


def published(name):
    return json.loads(golden(f"vau_r1/open/{name}.json").read_text())


def test_temporal_items_and_batches():
    data, rows = published("temporal"), published("msad_ground_truth_240")
    for item in data["items"]:
        parsed, expected = item["expected"]["parsed"], item["expected"].get("iou")
        if "error" in parsed:
            with pytest.raises(ValueError):
                vau_r1.period(item["response"])
            continue
        assert vau_r1.period(item["response"]) == (parsed["start"], parsed["end"]), item["id"]
        if isinstance(expected, float):
            assert (
                vau_r1.temporal_iou(parsed["start"], parsed["end"], item["gt_start"], item["gt_end"])
                == expected
            ), item["id"]
    tables = {"all_240_rows": rows, "rows_of_this_file": data["ground_truth_rows"]}
    for batch in data["batches"]:
        truth = {r["video_name"]: (r["start_time"], r["end_time"]) for r in tables[batch["ground_truth"]]}
        predictions = [(p["video_name"], p["response"]) for p in batch["predictions"]]
        if "error" in batch["expected"]:
            with pytest.raises(ValueError):
                vau_r1.temporal_scores(predictions, truth)
        else:
            wanted = {k: v for k, v in batch["expected"].items() if k != "text"}
            assert vau_r1.temporal_scores(predictions, truth) == wanted, batch["name"]


def test_qa_letters_and_batches():
    data, rows = published("qa"), published("msad_ground_truth_240")
    for item in data["items"]:
        wanted, right = item["expected"], item["correct_option"]
        qwen, internvl = vau_r1.letter_qwen(item["response"]), vau_r1.letter_internvl(item["response"])
        assert (qwen, internvl) == (
            wanted["letter_inference_qa_qwen"],
            wanted["letter_evaluate_qa_internvl"],
        ), item["id"]
        assert (qwen.lower() == right.lower(), internvl == right) == (
            wanted["counted_correct_qwen_rule"],
            wanted["counted_correct_internvl_rule"],
        )
    for batch in data["batches"]:
        chosen = batch["ground_truth"]
        truth = {
            r["video_name"]: r["correct_option"]
            for r in rows
            if chosen == "all_240_rows" or r["video_name"] in chosen
        }
        predictions = [(p["video_name"], p["answer"]) for p in batch["predictions"]]
        if "error" in batch["expected"]:
            with pytest.raises(ValueError):
                vau_r1.qa_accuracy(predictions, truth)
        else:
            assert (len(truth), vau_r1.qa_accuracy(predictions, truth)) == (
                batch["expected"]["total"],
                batch["expected"]["accuracy_percent_2_decimals"],
            )


def test_classification_items_and_batches():
    data, rows = published("classification"), published("msad_ground_truth_240")
    assert tuple(data["class_names"]) == vau_r1.CLASSES
    for item in data["items"]:
        found, wanted = vau_r1.classes_found(item["response"]), item["expected"]
        assert found == wanted["classes_found"], item["id"]
        exact = bool(found) and found[0].lower() == item["anomaly_class"].lower()
        binary = bool(found) and (found[0] == "Normal") == (item["anomaly_class"] == "Normal")
        assert (binary, exact) == (wanted["binary_correct"], wanted["class_correct"])
    for batch in data["batches"]:
        chosen = batch["ground_truth"]
        names = {name if name.endswith(".mp4") else name + ".mp4" for name in chosen}
        truth = {
            r["video_name"]: r["anomaly_class"]
            for r in rows
            if chosen == "all_240_rows" or r["video_name"] in names
        }
        predictions = [(p["video_name"], p["response"]) for p in batch["predictions"]]
        if "error" in batch["expected"]:
            with pytest.raises(ValueError):
                vau_r1.classification_scores(predictions, truth)
        else:
            wanted = {k: v for k, v in batch["expected"].items() if k != "text"}
            assert vau_r1.classification_scores(predictions, truth) == wanted, batch["name"]


def test_the_rules_by_hand():
    assert (
        vau_r1.temporal_iou(2, 2, 0, 9) == 0
        and vau_r1.temporal_iou(5, 1, 1, 5) == 0
        and vau_r1.temporal_iou(0, 2, 1, 3) == 1 / 3
    )
    scores = vau_r1.temporal_scores(
        [("a", "<glue>[0, 2]</glue>"), ("b", "<glue>[0, 2]</glue>"), ("x", "?")],
        {"a.mp4": (0, 2), "b.mp4": (0, 0)},
    )
    assert scores == {"mean_iou": 100.0, "r@0.3": 100.0, "r@0.5": 100.0, "r@0.7": 100.0, "num_scored": 1}
    assert vau_r1.letter_qwen("a man runs") == "A" and vau_r1.letter_internvl("a man runs") == ""
    assert vau_r1.letter_qwen("<answer>C. Text about a fight</answer>") == "A"
    assert vau_r1.classes_found("<answer>food   safety, then Fire</answer> Arson") == ["Food Safety", "Fire"]
    assert vau_r1.classes_found("FoodSafety and Fires") == []
