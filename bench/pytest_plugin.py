"""A pytest fixture for projects that gate a model change on its reasoning:

def test_no_reasoning_regression(reasoning_gate):
    reasoning_gate("runs/released", "runs/candidate", "configs/gate/reasoning.yaml")
"""

import pytest


@pytest.fixture
def reasoning_gate():
    """A function (before, after, gate file) that fails the test where a metric regressed, with the table as
    message."""
    from bench import gate

    def check(before, after, file) -> list[gate.Verdict]:
        verdicts = gate.judge(before, after, gate.read(file))
        if any(v.regressed for v in verdicts):
            pytest.fail(
                f"reasoning regressed from {before} to {after}\n{gate.table(verdicts)}", pytrace=False
            )
        return verdicts

    return check
