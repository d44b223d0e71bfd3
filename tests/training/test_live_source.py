"""The bytes of a run are counted of its heaviest batch."""

from __future__ import annotations

import numpy as np
import pytest

from support.assemblies import prepared_and_assembled, run_of
from support.tiny import TINY, make_table, make_texts, save_text
from thermocline.training.live_source import counted_of, heaviest, largest_part
from thermocline.training.trainer import Trainer

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return save_text(tmp_path_factory.mktemp("bert") / "model", "bert", **SHAPE)


def trainer_of(frame, options, folder) -> Trainer:
    return Trainer(run_of(*prepared_and_assembled(frame, {**TINY, **options}), folder))


def test_the_longest_rows(bert, tmp_path):
    rows = trainer_of(make_texts(40), {"model.text.checkpoint": str(bert)}, tmp_path).run.train
    batch = heaviest(rows, 5, epoch=0)
    assert sorted(rows.lengths[batch["rows"].numpy()]) == sorted(rows.lengths)[-5:]
    assert len(heaviest(rows, 64, epoch=0)["rows"]) == 64  # rows are repeated


@pytest.mark.parametrize(
    ("options", "rows", "several"),
    [
        ({}, 16, False),
        ({"env.micro_batch_size": 4}, 4, True),
        ({"env.batch_size": 39}, 20, True),  # a last row by itself joins the batch before, which is then cut
    ],
)
def test_the_most_rows_at_once(options, rows, several, tmp_path):
    run = trainer_of(make_table(40), options, tmp_path).run
    assert largest_part(run.assembly, run.train) == (rows, several)


def test_micro_batches_by_tokens(bert, tmp_path):
    trainer = trainer_of(make_texts(40), {"model.text.checkpoint": str(bert), "env.micro_batch_tokens": 60}, tmp_path)
    counted = counted_of(trainer.run.assembly, trainer.savings.setup.rows, trainer.savings, trainer.learning.objective)
    longest = int(np.max(trainer.run.train.lengths))
    assert counted.setup.rows == 60 // longest
    assert counted.setup.accumulates
    live = counted.live(trainer.run.plan.timeline.ever)
    assert live is not None
    assert live.peak > live.lasting > 0
