"""An answer stands, whatever is said of the others behind it; what is denied is none."""

import pytest
from answer_corpus import agrees, ours

OPTIONS = [
    "A man steals a bicycle",
    "Two people fight in the street",
    "A car hits a pedestrian",
    "Nothing odd",
]
CLASSES = {"Normal": [], "Fighting": ["fight"], "Shooting": [], "Robbery": [], "Stealing": ["theft"]}
LETTERS = {
    "in a line of its own": [
        ("**B**\n\nOption A is wrong. Option C is a car crash, not visible.", "B"),
        ("B\n\nA is incorrect.", "B"),
        ("B\n\nA, C and D do not match.", "B"),
        ("B\n\n(A) is wrong because nobody steals.", "B"),
        ("B\n\nA: no bicycle is seen.\nC: no car is seen.", "B"),
        ("B\n\nA. There is no bicycle.", "B"),
        ("B\n\n- A: incorrect\n- C: incorrect\n- D: incorrect", "B"),
        ("B\n\nC would need a car.", "B"),
        ("B\n\nWhy not A? There is no bicycle.", "B"),
        ("Option B\n\nOption A shows a theft, option C a crash.", "B"),
        ("B\n\nA选项:没有自行车;C选项:没有汽车。", "B"),
        ("A\nC", None),
        ("B\n\nA, C", None),
        ("A\nB\nC", None),
    ],
    "stated": [
        ("Answer: B\n\nA is about theft.", "B"),
        ("Answer: B\n\nA, C, and D are incorrect.", "B"),
        ("Final answer: **B**\n\nC is out.", "B"),
        ("The correct option is B\nD is incorrect because a fight is unusual.", "B"),
        ("The best answer is:\n\n**B. Two people fight in the street**\n\nOption A is about theft.", "B"),
        ("答案:B\nA、C、D均不符合视频内容。", "B"),
        ("Antwort: B\n\nA ist falsch.", "B"),
        ("Réponse : B\n\nA est incorrecte.", "B"),
        ("Respuesta: B\n\nA y C son incorrectas.", "B"),
        ("Resposta: B\n\nA e C estão erradas.", "B"),
        ("答えはB\nAは間違いです。", "B"),
        ("정답: B\nA는 틀렸습니다.", "B"),
        ("Ответ: B\n\nA и C неверны.", "B"),
        ("Answer: B\nD", None),
    ],
    "in its line": [
        ("B, A is wrong", "B"),
        ("B (A is wrong)", "B"),
        ("B (A and C are wrong)", "B"),
        ("B; A, C and D are wrong", "B"),
        ("B - A is wrong", "B"),
        ("B – A shows a theft", "B"),
        ("B, A doesn't happen", "B"),
        ("A and C can be ruled out. That leaves B.", "B"),
        ("B, but D is also true", None),
        ("B, but D is correct as well", None),
        ("B，但D也正确", None),
        ("A, B and C are wrong", None),
        ("A-C are wrong", None),
        ("B, D", None),
    ],
}
NAMES = [
    ("Fighting\n\nRobbery is not shown.", ["Fighting"]),
    ("**Fighting**\n\nShooting is ruled out. Robbery is a possible label, too.", ["Fighting"]),
    (
        "Fighting\n\nShooting and robbery are not seen in the clip. Stealing is a label for taking things.",
        ["Fighting"],
    ),
    ("Fighting\n- Shooting: no\n- Robbery: no", ["Fighting"]),
    ("Category: Fighting\n\nShooting: not seen\nRobbery: not seen", ["Fighting"]),
    ("Fighting\n- Shooting (not seen)\n- Robbery (not seen)", ["Fighting"]),
    ("Fighting\n\nShooting: no gun is fired.\nRobbery: nothing is taken.", ["Fighting"]),
    ("Fighting (robbery is ruled out)", ["Fighting"]),
    ("类别:Fighting\nShooting不符合。", ["Fighting"]),
    ("Fighting\nShooting", ["Fighting", "Shooting"]),
    ("Categories:\n- Fighting\n- Shooting\n- Robbery (a bag)", ["Fighting", "Shooting", "Robbery"]),
    ("Classes: Fighting,\nShooting", ["Fighting", "Shooting"]),
    ("Fighting, shooting and robbery", ["Fighting", "Shooting", "Robbery"]),
    ("Fighting, shooting and robbery are not seen.", None),
]
DENIED = [
    "All options but B",
    "Every option but B",
    "All of the other options but B",
    "B? No.",
    "B? Not really.",
    "B is the least likely",
    "B is the least plausible option",
    "The least plausible option is B",
    "B is the worst choice",
    "The worst choice is B",
    "B fits worst",
    "B is less likely",
    "Opposite of B",
    "The contrary of B",
    "¬B",
    "!B",
    "≠ B",
    "B ✗",
    "B: 0",
    "B (no)",
    "B makes no sense",
    "The correct answer was said to be B, which is a lie.",
    "It is false that it is B",
    "If fight: B",
    "If the man falls, then B",
    "Alles andere als B",
    "B ist falsch",
    "B est fausse",
    "B es incorrecta",
    "B è sbagliata",
    "B неверно",
]
NOT_DENIED = [
    "None other than B",
    "Nothing but B",
    "At least, B fits",
    "All options are wrong but B",
    "If I had to guess, B",
    "No doubt it is B",
    "B, which is not a theft",
    "B!",
    "Sure! B",
    "I prefer B to A",
    "More like B than A",
    "B is better than A",
    "Correct: B. Incorrect: A, C, D",
]
NO_CLASS = [
    "Fighting? No.",
    "least likely fighting",
    "Zero fighting",
    "0 cases of fighting",
    "fighting: 0",
    "fighting: none",
    "Fighting: not seen",
    "Fighting (absent)",
    "non-fighting",
    "fighting-free",
    "Fighting is the least plausible label",
    "The opposite of fighting",
    "If they hit each other: fighting",
]
A_CLASS = [
    "Fighting: 0.95",
    "Fighting: 0 - 10 s",
    "0 s to 10 s: fighting",
    "The worst anomaly is fighting",
    "Fighting, no doubt",
    "Nothing but fighting",
]
VERDICTS = {
    False: [
        '{"anomalies": []}',
        '{"anomaly_count": 0}',
        '{"anomaly": 0, "type": "none"}',
        '{"is_normal": true}',
        '{"hasAnomaly": "False"}',
        '{"no_anomaly": true}',
        '{"anomaly_score": 0.9, "anomaly": false}',
        "Zero anomalies were detected.",
        "0 anomalies found",
        "I see 0 anomalous events.",
        "Anomaly count: 0",
        "The number of anomalies is zero.",
        "Anomaly - ✗",
        "Anomaly: ❌",
        "It is false that there is an anomaly.",
        "It isn't true that something unusual happens.",
        "**Anomaly:** No",
        "- **Anomaly Present:** No\n- **Type:** None",
        "**Abnormal Event:** No",
        "Anomaly status: none",
        "Anomaly Type: None",
        "**Anomalie :** aucune",
        "Anomalie: keine",
        "Anomalía: ninguna",
        "异常:无",
        "[ ] Yes [x] No",
        "No. 0 anomalies.",
        "No\n\nAnomalies such as fights are absent.",
        "No, everything is fine.",
        "Non-anomalous",
    ],
    True: [
        '{"unusual_objects": "none", "anomaly": true}',
        '{"anomaly_type": "no", "anomaly_detected": true}',
        '{"anomaly_type": "Fighting", "anomaly": true}',
        '{"anomaly_reason": "no helmets", "anomaly": true}',
        '{"anomalies": [{"type": "fall", "start": 3}]}',
        '{"normal": false}',
        "It is not true that the video is normal.",
        "It is not true that there is no anomaly.",
        "non-normal",
        "This isn't normal.",
        "The scene doesn't look normal.",
        "[x] Yes [ ] No",
        "☑ Yes ☐ No",
        "**Anomaly:** Yes",
        "I am 95% sure there is an anomaly.",
        "The video contains abnormal behavior. No further anomalies are seen.",
    ],
    None: [
        "Everything is fine.",
        '{"anomaly": null}',
        '{"anomalies": ["none"]}',
        '{"anomaly_score": 0.02}',
        '{"anomaly": true, "is_normal": true}',
        "No, it isn't normal.",
        "I can't rule out an anomaly.",
        "An anomaly cannot be ruled out.",
        "No (anomaly present)",
        "Yes, everything is fine",
        "Anomaly probability: 5%",
        "Anomaly score: 0.02",
        "Anomaly: 0.95",
        "The probability of an anomaly is 5%.",
        "I am 5% sure there is an anomaly",
    ],
}


def right(**row):
    found = ours(row)
    assert agrees(row, found), (row["text"], found)


@pytest.mark.parametrize("text, label", [case for form in LETTERS.values() for case in form])
def test_a_letter_stands(text, label):
    right(kind="letter", text=text, label=label, options=OPTIONS)


@pytest.mark.parametrize("text, label", NAMES)
def test_a_class_stands(text, label):
    right(kind="class", text=text, label=label, classes=CLASSES)


@pytest.mark.parametrize("text", DENIED)
def test_what_is_denied_is_no_letter(text):
    right(kind="letter", text=text, label=None, options=OPTIONS)


@pytest.mark.parametrize("text", NOT_DENIED)
def test_what_is_not_denied_is_a_letter(text):
    right(kind="letter", text=text, label="B", options=OPTIONS)


@pytest.mark.parametrize("text", NO_CLASS)
def test_what_is_denied_is_no_class(text):
    right(kind="class", text=text, label=None, classes=CLASSES)


@pytest.mark.parametrize("text", A_CLASS)
def test_what_is_not_denied_is_a_class(text):
    right(kind="class", text=text, label=["Fighting"], classes=CLASSES)


@pytest.mark.parametrize("text, label", [(text, label) for label in VERDICTS for text in VERDICTS[label]])
def test_yes_and_no_are_not_turned_round(text, label):
    right(kind="yes_no", text=text, label=label)
