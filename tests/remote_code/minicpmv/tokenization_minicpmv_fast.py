from transformers import PreTrainedTokenizerFast


class MiniCPMVTokenizerFast(PreTrainedTokenizerFast):
    @property
    def eos_id(self):
        return self.eos_token_id

    @property
    def bos_id(self):
        return self.bos_token_id

    @property
    def im_start_id(self):
        return self.convert_tokens_to_ids("<image>")

    @property
    def im_end_id(self):
        return self.convert_tokens_to_ids("</image>")

    @property
    def slice_start_id(self):
        return self.convert_tokens_to_ids("<slice>")

    @property
    def slice_end_id(self):
        return self.convert_tokens_to_ids("</slice>")
