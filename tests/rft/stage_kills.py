"""A stage that is killed in the middle, for tests of what it goes on from."""

from rft.curriculum.trainer import StageTrainer


def killed_in_step_4(monkeypatch):
    """Until `monkeypatch.undo()`."""
    step, calls = StageTrainer.training_step, []

    def killed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    monkeypatch.setattr(StageTrainer, "training_step", killed)
