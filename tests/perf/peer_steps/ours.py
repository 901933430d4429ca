"""The worker of this project's trainer: `ours`, the stock checkpoint, as the peers train it, also with its
engine compiled; `tvad`, the shipped one with heatmaps and their prompts."""

from typing import Any

from tests.perf.peer_steps.turns import RATE, REWARDS, TASKS, TOPICS, Gate, Plan


def run(way: str, plan: Plan, gate: Gate) -> None:
    import vllm
    from transformers import TrainerCallback

    import rft.grpo.train as program
    from bench.models.vllm import VllmModel
    from rft.grpo.config import GrpoRun, Watch

    class Turns(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            gate.turn(state.global_step)

    class Trainer(program.VideoGRPOTrainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.add_callback(Turns())
            gate.watch(self.core.model.visual, frames_apart=False)

    program.VideoGRPOTrainer = Trainer
    sampling: Any = vllm.SamplingParams
    # Every completion as long as the peers', and without tokens that stand for pixels.
    vllm.SamplingParams = lambda **given: sampling(**given | {"min_tokens": given["max_tokens"]})
    path = plan.shipped if way == "tvad" else f"{plan.out}/ours"
    shape = plan.shape
    engine = VllmModel(
        path, max_num_seqs=shape.groups * shape.size, max_model_len=2048, compiled=way == "ours, compiled"
    )
    gate.watch(engine.llm.llm_engine.model_executor.driver_worker.model_runner.model.visual, False)
    program.train(
        GrpoRun(
            out=f"{plan.out}/{way}-{plan.number}",
            model=path,
            data=f"{plan.out}/data",
            tasks=TASKS,
            rewards=REWARDS,
            training=plan.training,
            trains=["model.language_model.*", "lm_head.*", *(["model.rae.*"] if way == "tvad" else [])],
            rate=RATE,
            max_frames=shape.frames,
            topics=TOPICS,
            decoders=0,  # in the turn, as the peers
            watch=Watch(patience=10_000),
        ),
        engine,
    )
