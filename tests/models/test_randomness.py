"""Draws that follow from the chip alone."""

from __future__ import annotations

import torch
from torch import nn

from geoseg.models.randomness import ChipDropout, chip_generators, draw, drawing_from, replace_dropout

CPU = torch.device("cpu")


def test_a_chip_draws_the_same_in_any_company() -> None:
    three = draw(chip_generators(torch.tensor([2**62, 5, 9]), CPU), (4, 3))
    one = draw(chip_generators(torch.tensor([5]), CPU), (4, 3))
    assert torch.equal(three[1:2], one)
    assert not torch.equal(three[0], three[1])


def test_dropout_keeps_the_mean_and_follows_the_chip() -> None:
    dropout = ChipDropout(0.4).train()
    maps = torch.ones(2, 50, 40, 40)
    with drawing_from(dropout, chip_generators(torch.tensor([1, 2]), CPU)):
        both = dropout(maps)
    assert dropout.generators is None
    assert set(both.unique().tolist()) == {0.0, float(1 / torch.tensor(0.6))}
    assert abs(float((both == 0).float().mean()) - 0.4) < 0.01
    with drawing_from(dropout, chip_generators(torch.tensor([2]), CPU)):
        assert torch.equal(dropout(maps[1:]), both[1:])


def test_without_generators_or_training_it_is_torchs() -> None:
    dropout, maps = ChipDropout(0.5), torch.ones(1, 8, 8, 8)
    torch.manual_seed(3)
    found = dropout.train()(maps)
    torch.manual_seed(3)
    assert torch.equal(found, nn.functional.dropout(maps, 0.5))
    assert torch.equal(dropout.eval()(maps), maps)
    assert torch.equal(ChipDropout(0.0).train()(maps), maps)


def test_replacing_keeps_shares_unless_told() -> None:
    network = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.1)))
    replace_dropout(network)
    assert [module.share for module in network.modules() if isinstance(module, ChipDropout)] == [0.3, 0.1]
