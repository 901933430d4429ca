import torch
from transformers.processing_utils import ProcessorMixin

from .image_processing_minicpmv import MiniCPMVBatchFeature


class MiniCPMVProcessor(ProcessorMixin):
    attributes = ["image_processor", "tokenizer"]  # noqa: RUF012
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor=None, tokenizer=None):
        super().__init__(image_processor, tokenizer)
        self.version = image_processor.version

    def __call__(
        self,
        text,
        images=None,
        max_length=None,
        do_pad=True,
        max_slice_nums=None,
        use_image_id=None,
        return_tensors=None,
    ):
        pictures = self.image_processor(images, do_pad=do_pad, max_slice_nums=max_slice_nums)
        rows, bounds = [], []
        for prompt, shown in zip(text, images, strict=True):
            pieces = prompt.split("(<image>./</image>)")
            assert len(pieces) == len(shown) + 1
            for number, piece in enumerate(pieces[1:]):
                pieces[number + 1] = (
                    self.image_processor.get_slice_image_placeholder(number, max_slice_nums, use_image_id)
                    + piece
                )
            ids = torch.tensor(self.tokenizer.encode("".join(pieces))[:max_length])
            starts = (ids == self.tokenizer.im_start_id) | (ids == self.tokenizer.slice_start_id)
            ends = (ids == self.tokenizer.im_end_id) | (ids == self.tokenizer.slice_end_id)
            rows.append(ids)
            bounds.append(torch.stack([torch.where(starts)[0] + 1, torch.where(ends)[0]], 1))
        assert len(rows) == 1
        return MiniCPMVBatchFeature(
            {
                **pictures,
                "input_ids": rows[0][None],
                "attention_mask": torch.ones_like(rows[0])[None],
                "image_bound": bounds,
            }
        )
