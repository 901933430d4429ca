"""The trainer's side of its engine: who gets which weights when, and what the servers do not do."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from trl.models.utils import unwrap_model_for_generation

from bench.models.base import HoldsModel, Shared, Sleeps
from rft.common.run_log import save_whole
from rft.grpo.servers import POLL, NoServer, RolloutServers
from rft.grpo.weights import Gather, changing, whole
from tvad.data.video import Frames
from tvad.model.modeling import TvadForConditionalGeneration

T = TypeVar("T")


class Served:
    """Mixed into the trainer, whose attributes these are."""

    accelerator: Any
    args: Any
    dtype: torch.dtype | None
    engine: Any
    held: dict[str, torch.Tensor]
    is_deepspeed_enabled: bool
    is_fsdp_enabled: bool
    model: Any
    model_wrapped: Any
    processing_class: Any
    state: Any
    tuner: Any
    _synced_step = -1

    @property
    def core(self) -> TvadForConditionalGeneration:
        """The policy without what wraps it."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    @property
    def _gather(self) -> Gather | None:
        """A context in which some parameters are whole, where ZeRO-3 has sharded them."""
        if self.is_deepspeed_enabled and self.accelerator.state.deepspeed_plugin.zero_stage == 3:
            import deepspeed

            return deepspeed.zero.GatheredParameters
        return None

    def weights(self, only: frozenset[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        """The policy's weights as an engine takes them (`rft.grpo.weights`), one after the other. Where they
        are sharded all processes must go through them together."""
        return whole(self.core, self.tuner, self.dtype, self.held, only, self._gather)

    def sync_weights(self) -> None:
        """Give the engine the current weights, once per optimiser step. A shared engine gets them from the
        first process."""
        if self.state.global_step == self._synced_step:
            return
        if isinstance(self.engine, RolloutServers):
            self._publish(self.engine)
        elif not isinstance(self.engine, HoldsModel):  # that has the policy itself
            weights = self.weights()
            if self.accelerator.is_main_process or not isinstance(self.engine, Shared):
                self.engine.sync(weights)
            for _ in weights:  # gathering is a common affair, sending is not
                pass
        self.accelerator.wait_for_everyone()  # nobody draws from a shared engine before it has them all
        self._synced_step = self.state.global_step

    @contextmanager
    def engine_ready(self) -> Iterator[None]:
        """The engine awake and with the current weights; it sleeps again afterwards, if it can, whatever
        happens inside. generate gets the policy, gathered."""
        if isinstance(self.engine, Sleeps):
            self.engine.wake()
        try:
            self.sync_weights()
            if not isinstance(self.engine, HoldsModel):
                yield
                return
            policy = unwrap_model_for_generation(self.model_wrapped, self.accelerator)
            # What trains and what is frozen may be of two types: autocast is where they meet.
            with policy as self.engine.model, self.accelerator.autocast():
                yield
        finally:
            if isinstance(self.engine, Sleeps):
                self.engine.sleep()

    def _publish(self, servers: RolloutServers) -> None:
        """Give servers the current weights: those alone that training changes, where all have the others."""
        first = self.accelerator.is_main_process
        lacks = self._told(servers.lacks_some() if first else False)
        weights, failed = self.weights(None if lacks else changing(self.core, self.tuner)), None
        if first:
            try:
                servers.sync(weights, whole=lacks)
            except NoServer as error:
                failed = str(error)
        for _ in weights:  # gathering is a common affair, sending is not
            pass
        servers.version, failed = self._told((servers.version, failed))
        if failed is not None:
            raise NoServer(failed)

    def _told(self, value: T) -> T:
        """What the first process says."""
        return broadcast_object_list([value])[0]

    def _with_engine(self, call: Callable[[], T]) -> T:
        """What the engine says, with the current weights. Where no rollout server is left it is asked again
        for as long as the engine waits; by all processes, since all have a part in the weights."""
        if not isinstance(self.engine, RolloutServers):
            with self.engine_ready():
                return call()
        deadline = time.monotonic() + self.engine.wait
        while True:
            failed = None
            try:
                with self.engine_ready():
                    found = call()
            except NoServer as error:
                failed = str(error)
            told = [words for words in gather_object([failed]) if words is not None]
            if not told:
                return found
            if self._told(time.monotonic() >= deadline):
                raise NoServer(told[0])
            time.sleep(POLL)
            self._synced_step = -1

    @torch.no_grad()
    def own_heatmaps(self, clips: list[Frames]) -> list[np.ndarray] | None:
        """Heatmap (T', h, w), 0..1, of every clip by the policy itself; None where it has none. One after the
        other: processes that share its weights make as many passes."""
        device, found = self.accelerator.device, []
        for clip in clips:
            vision = self.processing_class.vision_inputs([clip])
            with self.accelerator.autocast():
                (made,) = self.core.model.encode_clips(
                    vision["pixel_values_videos"].to(device), vision["video_grid_thw"].to(device)
                )
            if made.heat is None:
                return None
            found.append(made.heat.float().cpu().numpy())
        return found

    def save_policy(self, folder: Path) -> None:
        """A self-contained checkpoint of the policy, sharded weights gathered, LoRA merged; training goes on
        as before."""
        main = self.accelerator.is_main_process
        state = {name: tensor.cpu().clone() for name, tensor in self.weights() if main}
        if main:
            save_whole(folder, self.core, self.processing_class, self.dtype, state_dict=state)
