"""What T-VAD adds at 7B, counted on the meta device."""

from test_model import seven_billion

from tvad.model.cost import Account


def test_ahd_and_rae_are_cheap():
    account = Account(seven_billion())
    flops, weights = account.flops(), account.weights()
    assert account.tokens == 2048 and account.prompts == 140
    # By hand: two operations per weight and token (the merger aside, which sees a quarter of them); attention
    # comes on top.
    assert 1.0 < flops["vision"] / (2 * 631e6 * account.patches) < 1.2
    assert 1.0 < flops["language"] / (2 * 7.07e9 * (2048 - 140)) < 1.1
    assert abs(flops["ahd"] / (2 * 4 * (1280 * 1280 + 1280 * 3584) * account.patches) - 1) < 0.01
    base = flops["vision"] + flops["language"]
    assert (flops["ahd"] + flops["rae"]) / base < 0.03
    assert (weights["ahd"] + weights["rae"]) / weights["backbone"] < 0.01
