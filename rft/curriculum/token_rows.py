"""A few rows of an embedding that learn while the table stays frozen: at 7B the whole table's gradient and
moments are 8 GiB."""

import torch


class TokenRows(torch.nn.Module):
    """Rows `ids` of an embedding as a parameter (n, D) of its own, in float32, put over the table's output
    by a hook until `merge`."""

    def __init__(self, embedding: torch.nn.Embedding, ids: list[int]):
        super().__init__()
        self.ids = ids
        self.weight = torch.nn.Parameter(embedding.weight.detach()[ids].float())
        self._hook = embedding.register_forward_hook(self._put)

    def _put(self, embedding, inputs, output):
        # ids (B, L), output (B, L, D): where a token is one of the rows, its output is the row, which so
        # gets the gradient that the table does not.
        for row, token in zip(self.weight, self.ids, strict=True):
            output = torch.where((inputs[0] == token)[..., None], row.to(output.dtype), output)
        return output

    @torch.no_grad()
    def merge(self, embedding: torch.nn.Embedding) -> None:
        """Write the rows into the table and let go of it."""
        self._hook.remove()
        embedding.weight[self.ids] = self.weight.to(embedding.weight.dtype)


def anomaly_tokens(config) -> list[int]:
    """The ids of T-VAD's three tokens, from a model's configuration."""
    return [config.anomaly_start_token_id, config.anomaly_pad_token_id, config.anomaly_end_token_id]
