from transformers import PretrainedConfig, Qwen2Config


class InternVisionConfig(PretrainedConfig):
    model_type = "intern_vit_6b"

    def __init__(self, hidden_size=32, image_size=28, patch_size=14, num_hidden_layers=1, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size, self.image_size, self.patch_size = hidden_size, image_size, patch_size
        self.num_hidden_layers, self.drop_path_rate = num_hidden_layers, 0.1


class InternVLChatConfig(PretrainedConfig):
    model_type = "internvl_chat"
    is_composition = True

    def __init__(
        self,
        vision_config=None,
        llm_config=None,
        force_image_size=None,
        downsample_ratio=0.5,
        template=None,
        ps_version="v1",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.vision_config = InternVisionConfig(**(vision_config or {}))
        self.llm_config = Qwen2Config(**(llm_config or {}))
        self.force_image_size, self.downsample_ratio = force_image_size, downsample_ratio
        self.template, self.ps_version = template, ps_version

    def to_dict(self):
        return {
            **super().to_dict(),
            "vision_config": self.vision_config.to_dict(),
            "llm_config": self.llm_config.to_dict(),
        }
