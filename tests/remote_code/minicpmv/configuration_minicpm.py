from transformers import PretrainedConfig, Qwen2Config


class MiniCPMVConfig(Qwen2Config):
    model_type = "minicpmv"
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012

    def __init__(
        self, use_cache=True, query_num=4, patch_size=14, use_image_id=True, vision_config=None, **kwargs
    ):
        self.use_cache, self.query_num, self.patch_size = use_cache, query_num, patch_size
        self.use_image_id = use_image_id
        given = vision_config if isinstance(vision_config, dict) else {"hidden_size": 32}
        self.vision_config = PretrainedConfig(**given)
        super().__init__(**kwargs)
