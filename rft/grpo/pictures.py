"""Pictures of the clips beside logged completions (`training.log_completions`): TRL sends what its rows hold
as images to wandb and trackio; these rows hold videos, and TensorBoard gets nothing from it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from PIL import Image
from transformers.integrations import TensorBoardCallback

from tvad.data.video import Frames

FRAMES, HEIGHT = 6, 112  # of a strip: at most so many, at most so many pixels high


def strip(clip: Frames) -> Image.Image:
    """The first frame, the last and some between, side by side."""
    count = len(clip.images)
    chosen = np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int)
    found = Image.fromarray(np.concatenate(list(clip.images[chosen]), axis=1))
    if found.height > HEIGHT:
        found = found.resize((max(1, round(found.width * HEIGHT / found.height)), HEIGHT))
    return found


class LogsPictures:
    """A trainer that logs, with a completion, what it is about, and an evaluation's completions beside those
    of training, not in their place."""

    store: Any
    args: Any
    state: Any
    accelerator: Any
    model: Any
    callback_handler: Any
    log_completions: bool
    log_multimodal: bool
    log_unique_prompts: bool
    num_completions_to_print: int | None
    _logs: dict[str, Any]
    _shown: tuple[str, int] | None = None  # the last in TensorBoard: the mode, the step

    def keep_pictures(self, videos: list[str]) -> None:
        """Of the completions that were last scored, each about one of `videos` (B,)."""
        if self.log_completions and self.log_multimodal and self.args.report_to:
            strips = {video: strip(self.store.load(video)) for video in dict.fromkeys(videos)}
            self._logs["images"].extend(gather_object([[strips[video]] for video in videos]))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        tells = self.log_completions and self.accelerator.is_main_process
        name = "completions" if self.model.training else "eval_completions"
        with self._table(name) if tells else contextlib.nullcontext():
            super().log(logs, start_time)  # type: ignore[misc]
        shown = name, self.state.global_step  # a run's end logs again, with nothing new
        if not tells or not self._logs["completion"] or shown == self._shown:
            return
        self._shown = shown
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback) and callback.tb_writer is not None:
                self._to_tensorboard(callback.tb_writer, name)

    @contextlib.contextmanager
    def _table(self, name: str) -> Iterator[None]:
        """TRL's file of a step's completions is called by `name`: of an evaluation it would replace the
        training step's."""
        written = Path(
            self.args.output_dir, "completions", f"completions_{self.state.global_step:05d}.parquet"
        )
        target = written.with_name(written.name.replace("completions", name))
        aside = written.with_name(f"{written.name}.training")
        if moves := target != written and written.exists():
            written.rename(aside)
        try:
            yield
        finally:
            if target != written and written.exists():
                written.rename(target)
            if moves:
                aside.rename(written)

    def _to_tensorboard(self, writer: Any, name: str) -> None:
        """At most `num_completions_to_print` of the last ones: texts, rewards and strips."""
        kept, seen = self._logs, set()
        number = 0
        for place, (prompt, completion) in enumerate(zip(kept["prompt"], kept["completion"], strict=True)):
            if number == (self.num_completions_to_print or len(kept["prompt"])):
                break
            if self.log_unique_prompts and str(prompt) in seen:
                continue
            seen.add(str(prompt))
            rewards = {key: values[place] for key, values in kept["rewards"].items()}
            text = completion[-1]["content"] if isinstance(completion, list) else completion
            asked = [part["text"] for part in prompt[-1]["content"] if part.get("type") == "text"]
            told = "\n\n".join([*asked, text, str(rewards)])
            # Four blanks make code of it: what a model writes is no Markdown.
            lines = "".join(f"    {line}\n" for line in told.splitlines())
            writer.add_text(f"{name}/{number}", lines, self.state.global_step)
            if kept["images"]:
                picture = np.asarray(kept["images"][place][0])
                writer.add_image(f"{name}/{number}", picture, self.state.global_step, dataformats="HWC")
            number += 1
