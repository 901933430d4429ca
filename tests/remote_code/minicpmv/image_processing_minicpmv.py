import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

SIDE = 28


class MiniCPMVBatchFeature(BatchFeature):
    def to(self, device):
        def moved(value):
            if isinstance(value, list):
                return [moved(one) for one in value]
            return value.to(device) if isinstance(value, torch.Tensor) else value

        return MiniCPMVBatchFeature({key: moved(value) for key, value in self.items()})


class MiniCPMVImageProcessor(BaseImageProcessor):
    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(self, max_slice_nums=9, patch_size=14, image_feature_size=4, use_image_id=True, **kwargs):
        super().__init__(**kwargs)
        self.max_slice_nums, self.patch_size = max_slice_nums, patch_size
        self.image_feature_size, self.use_image_id = image_feature_size, use_image_id
        self.version = kwargs.pop("version", 2.6)

    def get_slice_image_placeholder(self, number, max_slice_nums=None, use_image_id=None):
        slices = self.max_slice_nums if max_slice_nums is None else max_slice_nums
        named = self.use_image_id if use_image_id is None else use_image_id
        one = "<image>" + "<unk>" * self.image_feature_size + "</image>"
        more = "<slice>" + "<unk>" * self.image_feature_size + "</slice>"
        opening = f"<image_id>{number}</image_id>" if named else ""
        return opening + one + more * (slices - 1)

    def preprocess(self, images, max_slice_nums=None, **kwargs):
        slices = self.max_slice_nums if max_slice_nums is None else max_slice_nums
        made = []
        for pictures in images:
            row = []
            for picture in pictures:
                small = np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
                row += [torch.from_numpy(small.copy()).permute(2, 0, 1) / 127.5 - 1] * slices
            made.append(row)
        return MiniCPMVBatchFeature({"pixel_values": made, "image_sizes": [[p.size for p in images[0]]]})


AutoImageProcessor.register("MiniCPMVImageProcessor", MiniCPMVImageProcessor)
