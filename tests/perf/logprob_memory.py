"""What log-probs take beside the model: memory per completion token and entry of the vocabulary, in float32
and bfloat16, with and without gradients, at a vocabulary of Qwen2.5-VL-7B's size.

    python tests/perf/logprob_memory.py [--tokens 4096] [--vocabulary 152064]

The decoder is left out (a hidden size of 8): what remains is the logits and what is made of them. Each way
runs in a process of its own, whose peak is taken.
"""

import argparse
import resource
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

WAYS = [(dtype, grad) for dtype in ("float32", "bfloat16") for grad in (True, False)]


def measured(tokens: int, vocabulary: int, dtype: str, grad: bool) -> None:
    """Print the bytes that the peak grew by, per token and entry."""
    import torch

    from tvad.model.scored import score

    torch.manual_seed(0)
    head = torch.nn.Linear(8, vocabulary, bias=False, dtype=getattr(torch, dtype))
    embedding = torch.nn.Embedding(64, 8, dtype=head.weight.dtype)

    ids = torch.randint(1, 64, (tokens,))

    def run(ids):
        with torch.set_grad_enabled(grad):
            values, _ = score(head, embedding(ids), ids, vocabulary, 1.0, False)
            if grad:
                values.sum().backward()

    run(ids[:1])  # what torch loads at its first use, and the head's gradient
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run(ids)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(f"{dtype}, {'with' if grad else 'without'} gradients: {peak / tokens / vocabulary:.1f} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=152_064)
    parser.add_argument("--way", type=int)
    given = parser.parse_args()
    if given.way is not None:
        measured(given.tokens, given.vocabulary, *WAYS[given.way])
    else:
        for n in range(len(WAYS)):
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", str(n)], check=True)
