"""What is drawn at random is a function of the seed and the place: of nothing that came before it."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import TrainingData
from fvlm_core.data.mixture import BLOCK, Mixture
from fvlm_core.data.planning import Piece
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.plugin_api import DataSource, Sample, Turn
from fvlm_core.utils.seeding import seed_micro_batch


class Drawing(DataSource):
    """Whose texts come from every global generator."""

    name = "drawing"

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> Sample:
        drawn = f"{random.random()} {np.random.random()} {float(torch.rand(1))}"  # noqa: NPY002
        return Sample(str(index), self.name, (Turn("user", "?"), Turn("assistant", drawn)))


def test_a_source_that_draws_gives_a_place_the_same_whatever_came_before() -> None:
    data = TrainingData((Drawing(),), Mixture([50], [1.0], 3), Preparer(ByteChat(), 8, "answer", 512))

    def read(place: int) -> list[int]:
        return data[Piece(0, (place,))].batch.ids[0].tolist()

    torch.manual_seed(0)
    first = [read(place) for place in range(6)]
    assert [read(place) for place in (5, 0, 3)] == [first[place] for place in (5, 0, 3)]
    assert len({tuple(ids) for ids in first}) == 6


def test_a_step_draws_one_number_a_sample_however_it_is_cut() -> None:
    seed_micro_batch(7, 3, 0)
    whole = torch.rand(8).tolist()
    for offset in (0, 2, 5):
        seed_micro_batch(7, 3, offset)
        assert torch.rand(8 - offset).tolist() == whole[offset:]
    seed_micro_batch(7, 4, 0)
    assert torch.rand(8).tolist() != whole
    seed_micro_batch(8, 3, 0)
    assert torch.rand(8).tolist() != whole


@pytest.mark.parametrize("seed", [0, 1])
def test_sources_are_shuffled_within_a_block_and_otherwise_in_each(seed: int) -> None:
    mixture = Mixture([10_000, 10_000], [0.5, 0.5], seed)
    blocks = [[mixture.at(BLOCK * block + place)[0] for place in range(BLOCK)] for block in range(2)]
    assert blocks[0] != blocks[1]
    for sources in blocks:
        changes = sum(one != other for one, other in pairwise(sources))
        assert changes == pytest.approx(BLOCK / 2, abs=5 * (BLOCK / 4) ** 0.5)  # of coins that are fair


def test_replacements_are_drawn_from_all_of_the_source() -> None:
    mixture = Mixture([1000], [1.0], 0)
    drawn = [mixture.replacement(place, attempt)[1] for place in range(100) for attempt in range(10)]
    # Of 1,000 draws with replacement 1 - 1/e are different, give or take 1.
    assert len(set(drawn)) == pytest.approx(632, abs=60)
