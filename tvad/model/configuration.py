"""Configuration of T-VAD on Qwen2.5-VL: what the backbone's configuration lacks. Source: arXiv 2511.00524, section 3."""

from transformers import Qwen2_5_VLConfig

# Tokens of the backbone and of T-VAD that only the processor may write.
ANOMALY_TOKENS = ("<|anomaly_start|>", "<|anomaly_pad|>", "<|anomaly_end|>")


def relative_layers(depth: int) -> list[int]:
    """The blocks that AHD reads, 0-based: 1, 8, 16, 32 of 32 (counted from one), the same relative depths elsewhere."""
    return [min(depth - 1, max(0, round(depth * block / 32) - 1)) for block in (1, 8, 16, 32)]


class TvadConfig(Qwen2_5_VLConfig):
    """Qwen2.5-VL plus T-VAD.

    anomaly_{start,pad,end}_token_id: the three special tokens around and for the anomaly prompts.
    ahd_layers: vision blocks that AHD reads (0-based; default the paper's relative depths).
    rae_base_prompts (10), rae_region_grid (3: 3 x 3 regions), rae_channels (64), rae_hidden (1024): sizes of RAE.
    """

    model_type = "tvad"
    anomaly_start_token_id: int | None = None
    anomaly_pad_token_id: int | None = None
    anomaly_end_token_id: int | None = None
    ahd_layers: list[int] | None = None
    rae_base_prompts: int = 10
    rae_region_grid: int = 3
    rae_channels: int = 64
    rae_hidden: int = 1024

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.ahd_layers is None:
            self.ahd_layers = relative_layers(self.vision_config.depth)

    @property
    def prompts_per_step(self) -> int:
        """Soft tokens of one temporal difference: base + regions + global."""
        return self.rae_base_prompts + self.rae_region_grid**2 + 1

    @property
    def forbidden_token_ids(self) -> list[int]:
        """Tokens that stand for pixels or heatmaps: a completion may not contain them."""
        ids = (self.image_token_id, self.video_token_id, self.vision_start_token_id, self.vision_end_token_id,
               self.anomaly_start_token_id, self.anomaly_pad_token_id, self.anomaly_end_token_id)  # fmt: skip
        return [i for i in ids if i is not None]
