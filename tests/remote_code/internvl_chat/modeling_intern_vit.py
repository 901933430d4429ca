import torch
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from .configuration_internvl_chat import InternVisionConfig


class InternVisionModel(PreTrainedModel):
    main_input_name = "pixel_values"
    config_class = InternVisionConfig

    def __init__(self, config):
        super().__init__(config)
        # Stochastic depth decay rule: on the meta device `.item()` ends it.
        self.rates = [x.item() for x in torch.linspace(0, config.drop_path_rate, config.num_hidden_layers)]
        self.class_embedding = torch.nn.Parameter(torch.randn(1, 1, config.hidden_size))
        self.patch_embedding = torch.nn.Conv2d(3, config.hidden_size, config.patch_size, config.patch_size)

    def forward(self, pixel_values=None, output_hidden_states=None, return_dict=None):
        patches = self.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(patches), 1, -1)
        return BaseModelOutputWithPooling(last_hidden_state=torch.cat([first, patches], 1))
