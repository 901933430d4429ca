"""A stock checkpoint in vLLM and in transformers, at several rates: log-probs of first tokens agree. A
process of its own: an engine is never opened beside another."""

import sys

from bench.models.base import Request
from bench.models.clips import made
from bench.models.hf import HfModel
from bench.models.vllm import VllmModel
from bench.sight import apart
from tvad.prompts import messages

RATES = (1, 1.5, 4, 7.5)

if __name__ == "__main__":
    folder = sys.argv[1]
    requests = [
        Request(messages("When does it happen?"), made(8, (56, 84), n, rate=rate))
        for n, rate in enumerate(RATES)
    ]
    plain = HfModel.open(folder)
    plain.model.float()
    engine = VllmModel(folder, max_num_seqs=4)
    both = zip(RATES, plain.first_token(requests), engine.first_token(requests), strict=True)
    for rate, ours, theirs in both:
        assert apart(ours, theirs) < 1e-3, (rate, apart(ours, theirs))
    print("agree")
