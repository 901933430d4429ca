"""Siblings of the answers that the rules failed on when they met the rows kept apart, and forms like them."""

import pytest
from answer_corpus import agrees, ours

OPTIONS = ["A man steals a bicycle", "A man falls down", "A car hits a pedestrian", "Two people fight"]
LETTERS = {
    "another is set aside": [
        ("I chose D instead of C.", "D"),
        ("A instead of B or C.", "A"),
        ("B over A.", "B"),
        ("Instead of A, it is B.", "B"),
    ],
    "two answers": [
        ("Answer: B\nAnswer: B", "B"),
        ("Final answer: A\nFinal answer: D", None),
        ("A\nC", None),
        ("A\n\nTwo people fight.", None),
        ("A\n\nExplanation: the man steals; B and C do not happen.", "A"),
    ],
    "an object as programs write it": [
        ("{'answer': 'B'}", "B"),
        ("{'final_answer': 'C', 'reason': \"It's a car\"}", "C"),
        ("```python\n{'answer': 'D'}\n```", "D"),
        ('{"answer": "B",}', "B"),
        ("answer = 'B'", "B"),
        ('{"A": false, "B": true}', "B"),
        ('{"A": 0.1, "B": 0.9}', None),
    ],
    "broken off while the options are discussed": [
        ("First, Option B states that a man falls down, and in the fra", None),
        ("Let me consider the options one by one. Option A: a man steals a bicycle. I see a m", None),
        ("Let's analyze: B says that", None),
        ("Let's look at the options. B fits", "B"),
        ("Let me look at each option. He falls, so the answer is B", "B"),
    ],
    "not this but that, in other languages": [
        ("Nicht B, sondern D.", "D"),
        ("Pas A, mais C.", "C"),
        ("No A, sino C.", "C"),
        ("Non A, ma B.", "B"),
        ("Não A, mas B.", "B"),
        ("Niet A, maar C.", "C"),
        ("Nie A, lecz C.", "C"),
        ("Bukan A, melainkan C.", "C"),
    ],
    "chosen, in other languages": [
        ("Je choisis B", "B"),
        ("Elijo B", "B"),
        ("Escojo la opción B", "B"),
        ("Me quedo con la B", "B"),
        ("Escolho B", "B"),
        ("Fico com B", "B"),
        ("Scelgo B", "B"),
        ("Opto per B", "B"),
        ("Kies B", "B"),
        ("Ik kies voor B", "B"),
        ("Ich wähle B", "B"),
        ("Ich entscheide mich für B", "B"),
        ("J'opte pour B", "B"),
        ("Wybieram B", "B"),
        ("Jag väljer B", "B"),
        ("Saya memilih B", "B"),
        ("Saya pilih B", "B"),
        ("Tôi chọn B", "B"),
        ("Я выбираю B", "B"),
        ("Antwoord B", "B"),
        ("Réponse B", "B"),
        ("Verdict B", "B"),
        ("Je choisis B plutôt que A", "B"),
        ("Ich wähle nicht A", None),
        ("Je vois Person A", None),
    ],
    "corrected": [("A... hmm, C.", "C"), ("A, sorry, C", "C"), ("A (no, C)", "C")],
}
VERDICTS = [
    ("Normal | Abnormal", None),
    ("Normal or anomaly", None),
    ("[Normal/Abnormal]", None),
    ("正常/异常", None),
    ("Is it normal or abnormal? Abnormal.", True),
    ("Normal/Anomaly: Anomaly", True),
    ("Yes/No: No", False),
    ("Non-anomalous", False),
]
SPANS = [
    ("1 to 2 s... hmm, no, 3 to 7.5 s.", [(3, 7.5)]),
    ("[5, 6], sorry, [3, 7.5]", [(3, 7.5)]),
    ("5 s to 6 s, or rather 3 s to 7.5 s", [(3, 7.5)]),
    ("5至6秒。不对，3至7.5秒。", [(3, 7.5)]),
    ("I first thought 5-6 s, but it is 3-7.5 s.", [(3, 7.5)]),
    ("3 to 7.5 s instead of 5 to 6 s", [(3, 7.5)]),
    ("The people wait from 1 to 2 s and fight from 3 to 7 s", [(1, 2), (3, 7)]),
    ("3 to 7.5 s. Wait, let me check. Yes.", [(3, 7.5)]),
]
ONE, TWO = [[100, 200, 300, 400]], [[100, 200, 300, 400], [500, 550, 700, 900]]
BOXES = {
    "several in one bracket": [
        ("A man[[100,200,300,400;500,550,700,900]]", "permille", TWO),
        ("<box>[[100,200,300,400;500,550,700,900]]</box>", "permille", TWO),
        ("(100,200,300,400;500,550,700,900)", "permille", TWO),
        ("<box>0.1,0.2,0.3,0.4;0.5,0.55,0.7,0.9</box>", "unit", TWO),
        ("100,200,300,400\n500,550,700,900", "permille", TWO),
        ("[100;200;300;400]", "permille", ONE),
        ("<box>(100,200);(300,400)</box>", "permille", ONE),
    ],
    "points": [
        ('<points x1="10" y1="20" x2="30" y2="40" x3="50" y3="60" alt="p">p</points>', "percent", None),
        ('[{"point": [100, 200]}, {"point": [300, 400]}]', "permille", None),
        ("points: (100, 200), (300, 400)", "permille", None),
        ("pointing at [100, 200, 300, 400]", "permille", ONE),
        ("top-left (100, 200), bottom-right (300, 400)", "permille", ONE),
    ],
    "dress": [
        ("<bbox>100,200,300,400</bbox>", "permille", ONE),
        ("<|box_start|>100, 200, 300, 400<|box_end|>", "permille", ONE),
        ('{"bbox_2d": "100, 200, 300, 400"}', "permille", ONE),
        ("{'x1': 100, 'y1': 200, 'x2': 300, 'y2': 400}", "permille", ONE),
        ("<x1>100</x1><y1>200</y1><x2>300</x2><y2>400</y2>", "permille", ONE),
        ("<bin_100><bin_200><bin_300><bin_400>", "permille", ONE),
        ("x0=100, y0=200, x1=300, y1=400", "permille", ONE),
    ],
}
REASONING = [
    ("<think lang='en'>x</think>\n<answer>B</answer>", "x", "B"),
    ('<thinking effort="high">x</thinking>B', "x", "B"),
    ('<reasoning step="1">x</reasoning>B', "x", "B"),
    ("<think id=1>x</think><answer id=1>B</answer>", "x", "B"),
    ("<analysis>x</analysis>B", "x", "B"),
    ("<antThinking>x</antThinking>B", "x", "B"),
    ("<thinking about it> B", None, "<thinking about it> B"),
]


def right(**row):
    found = ours(row)
    assert agrees(row, found), (row["text"], found)


@pytest.mark.parametrize("form", LETTERS)
def test_letters(form):
    for text, label in LETTERS[form]:
        right(kind="letter", text=text, label=label, options=OPTIONS)


def test_verdicts():
    for text, label in VERDICTS:
        right(kind="yes_no", text=text, label=label)


def test_spans():
    for text, label in SPANS:
        right(kind="span", text=text, label=label, video={"duration": 20.0, "fps": 10.0})


@pytest.mark.parametrize("form", BOXES)
def test_boxes(form):
    for text, unit, label in BOXES[form]:
        right(kind="box", text=text, label=label, box_unit=unit, size=[1000, 1000])


def test_marks_with_attributes():
    for text, reasoning, rest in REASONING:
        right(kind="reasoning", text=text, label={"reasoning": reasoning, "rest": rest})
