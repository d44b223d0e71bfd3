"""Two text columns are read in one sequence, each alone and compared, or both."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.cached_fits import check, notes, weights
from support.stopping import killed_before
from support.tiny import TINY, make_texts
from thermocline import Predictor
from thermocline.config import resolve
from thermocline.contracts.inputs import RowSource
from thermocline.contracts.tower import TOKEN
from thermocline.data.columns import Column, infer_columns
from thermocline.efficiency.costs.layer_costs import layer_costs
from thermocline.inputs.building import build_inputs, describe_inputs, rebuild_inputs
from thermocline.inputs.text.processor import TextProcessor
from thermocline.inputs.text.rows import READINGS
from thermocline.inputs.text.tokenizer import train_tokenizer
from thermocline.tuning.layers.layer_map import LayerMap

WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
OPTION = "model.text.pair"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([" ".join(WORDS)] * 5, most=400)


def made(tokenizer, pair, names=("one", "two"), **options):
    columns = [Column(name, "text", form="text") for name in names]
    return TextProcessor(tokenizer, columns, **{"join": "names", "max_length": 64, "pair": pair, **options})


def pairs(rows=40, seed=0):
    """Two texts a row; the label is whether they are the same."""
    texts, rng = make_texts(rows, seed)["review"].tolist(), np.random.default_rng(seed)
    same = np.arange(rows) % 2 == 0
    other = [text if one else texts[k] for text, one, k in zip(texts, same, rng.permutation(rows), strict=True)]
    return pd.DataFrame({"one": texts, "two": other, "y": np.where(same, "same", "other")})


class Built:
    """The text input of a frame of pairs."""

    def __init__(self, folder, pair, **options):
        self.frame = pairs(12).drop(columns="y").assign(two=lambda f: f["two"].where(f.index != 3, None))
        self.columns = infer_columns(self.frame, column_types={"one": "text", "two": "text"})
        self.config = resolve(None, {"model.text.checkpoint": str(folder), OPTION: pair, **options})
        (self.input,) = build_inputs(RowSource(self.frame), self.columns, self.config)
        self.tower = self.input.tower.eval()

    def features(self, frame=None, tower=None, rows=None):
        part = self.input.rows(RowSource(self.frame if frame is None else frame))
        chosen = np.arange(len(part)) if rows is None else np.array(rows)
        with torch.no_grad():
            batch = {name: torch.from_numpy(array) for name, array in part.batch(chosen).items()}
            return (tower or self.tower)(batch)


# rows


def test_apart_each_text_is_read_without_the_name_of_its_column(tokenizer):
    frame = pd.DataFrame({"one": ["the fox", None], "two": ["a lazy dog jumps", "fox"]})
    rows = made(tokenizer, "apart").rows(frame)
    assert (len(rows), rows.per_row) == (2, 2)
    expected = ["the fox", "a lazy dog jumps", "", "fox"]
    assert [one.tolist() for one in rows.ids] == [tokenizer(text)["input_ids"] for text in expected]
    both = made(tokenizer, "both").rows(frame)
    joint = made(tokenizer, "joint").rows(frame)
    assert both.per_row == 3
    for i in range(2):
        for got, wanted in zip(both.ids[3 * i : 3 * i + 3], (joint.ids[i], *rows.ids[2 * i : 2 * i + 2]), strict=True):
            np.testing.assert_array_equal(got, wanted)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(*[st.lists(st.sampled_from(WORDS), max_size=30)] * 2), min_size=1, max_size=5),
    st.sampled_from(["apart", "both"]),
    st.booleans(),
)
def test_widths_count_the_tokens_of_all_readings(tokenizer, texts, pair, aligned):
    frame = pd.DataFrame([(" ".join(a), " ".join(b)) for a, b in texts], columns=["one", "two"])
    rows = made(tokenizer, pair, max_length=24).rows(frame)
    rows = rows.aligned() if aligned else rows
    batch = rows.batch(np.arange(len(rows)))["attention_mask"]
    assert batch.shape[:2] == (len(rows), rows.per_row)
    assert batch.shape[1] * batch.shape[2] == rows.widths.max()
    np.testing.assert_array_equal(batch.sum(axis=2).reshape(-1), rows.lengths)


def test_a_pair_are_two_columns(tokenizer):
    with pytest.raises(ValueError, match="two columns, not 3"):
        made(tokenizer, "apart", names=("a", "b", "c"))


def test_a_processor_saved_before_there_were_pairs_reads_jointly(tokenizer):
    saved = made(tokenizer, "both").to_dict()
    assert TextProcessor.from_dict(json.loads(json.dumps(saved)), tokenizer).pair == "both"
    del saved["pair"]
    assert TextProcessor.from_dict(saved, tokenizer).pair == "joint"


# features


def test_two_texts_are_compared(text_folder):
    joint, apart, both = (Built(text_folder, pair) for pair in ("joint", "apart", "both"))
    assert joint.tower.feature_blocks == ()
    assert apart.tower.feature_blocks == (32, 32, 32, 32, 1)
    u, v, difference, product, cosine = apart.features().split(apart.tower.feature_blocks, dim=1)
    torch.testing.assert_close(difference, (u - v).abs())
    torch.testing.assert_close(product, u * v)
    torch.testing.assert_close(cosine[:, 0], nn_cosine(u, v))
    torch.testing.assert_close(both.features(), torch.cat([joint.features(), apart.features()], dim=1))
    swapped = apart.features(apart.frame.rename(columns={"one": "two", "two": "one"}))
    torch.testing.assert_close(swapped, torch.cat([v, u, difference, product, cosine], dim=1))
    torch.testing.assert_close(apart.features(rows=[5]), apart.features()[5:6])  # however wide the batch


@pytest.mark.parametrize("pair", ["joint", "apart", "both"])
def test_what_a_layer_gives_is_compared_as_the_features_are(text_folder, pair):
    built, given = Built(text_folder, pair, **{"model.text.pooling": "mean"}), []
    built.tower.backbone.register_forward_hook(lambda *args: given.append(args[2][0]))
    features = built.features()
    part = built.input.rows(RowSource(built.frame)).batch(np.arange(len(built.frame)))
    inputs = {name: torch.from_numpy(array) for name, array in part.items()}
    torch.testing.assert_close(built.tower.row_states(given[0], inputs), features)
    assert built.tower.row_states(given[0][:, :1], inputs) is None
    assert built.tower.row_states(given[0][:, 0], inputs) is None


def nn_cosine(u, v):
    return (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1))


def test_tokens_are_those_of_one_sequence(text_folder):
    apart = Built(text_folder, "apart")
    assert apart.tower.trial().shape == (1, apart.tower.width)
    with pytest.raises(ValueError, match="no features of grain 'token'"):
        apart.tower({}, grain=TOKEN)
    with pytest.raises(ValueError, match="not 'beside'"):
        apart.tower.read_pair("beside")


def test_a_saved_pair_is_read_as_it_was(text_folder, tmp_path):
    built = Built(text_folder, "both")
    described = json.loads(json.dumps(describe_inputs([built.input], tmp_path)))
    (again,) = rebuild_inputs(described, tmp_path, built.config, trust_remote_code=False)
    again.tower.load_state_dict(built.tower.state_dict())
    assert torch.equal(built.features(), built.features(tower=again.tower.eval()))
    described["text"]["processor"]["pair"] = "os"
    with pytest.raises(ValueError, match="not 'os'"):
        rebuild_inputs(described, tmp_path, built.config, trust_remote_code=False)


# what is chosen


class Says:
    """A judge that has its mind made up."""

    def __init__(self, word):
        self.word, self.widths = word, {}

    def rows(self, most):
        return np.arange(0, most, 50)

    def choose(self, rows, forms):
        self.widths = {name: [block.shape for block in blocks] for name, blocks in forms.items()}
        return self.word, "so it is"


@pytest.mark.parametrize(
    ("word", "pair"), [("joint", "joint"), ("side by side", "joint"), ("apart", "apart"), ("both", "both")]
)
def test_the_judge_decides_on_features_of_some_rows(text_folder, word, pair):
    frame, judge = pairs(400).drop(columns="y"), Says(word)
    columns = infer_columns(frame, column_types={"one": "text", "two": "text"})
    config = resolve(None, {"model.text.checkpoint": str(text_folder)})
    (built,) = build_inputs(RowSource(frame, judge=judge), columns, config)
    assert built.config.model.text.pair == built.tower.pair == built.processor.pair == pair
    assert built.config.provenance[OPTION] == "chosen: so it is"
    apart = [(8, 32)] * 4 + [(8, 1)]
    assert list(judge.widths) == ["joint", "side by side", "apart", "both"]  # the cheapest first
    assert list(judge.widths.values()) == [[(8, 32)], apart[:2], apart, [(8, 32), *apart]]


@pytest.mark.parametrize(
    ("columns", "options", "why"),
    [
        (["one"], {OPTION: "apart"}, "of 1 column it has no effect"),
        (["one", "two"], {"model.text.pretrained": False}, "no pretrained weights"),
    ],
)
def test_where_nothing_can_be_compared_the_reading_is_joint(text_folder, columns, options, why):
    frame = pairs(12)[columns]
    config = resolve(None, {"model.text.checkpoint": str(text_folder), **options})
    source = RowSource(frame, judge=Says("both"))
    (built,) = build_inputs(source, infer_columns(frame, column_types=dict.fromkeys(columns, "text")), config)
    assert built.tower.pair == built.processor.pair == built.config.model.text.pair == "joint"
    assert why in built.config.provenance[OPTION]


# a fit


def test_a_pair_is_found_trained_saved_and_loaded(text_folder, tmp_path):
    frame = pairs(60)
    options = {**TINY, "model.text.checkpoint": str(text_folder), "env.micro_batch_tokens": 400}
    types = {"one": "text", "two": "text"}
    predictor = Predictor("y", path=tmp_path / "saved", verbosity=0)
    predictor.fit(frame, hyperparameters=options, column_types=types)
    assert predictor.config.model.text.pair in ("apart", "both")
    assert "misses joint" in predictor.config.provenance[OPTION]
    test = pairs(9, seed=1).assign(two=lambda f: f["two"].where(f.index > 1, None))
    found = predictor.predict_proba(test)
    assert found.notna().all().all()
    assert Predictor.load(tmp_path / "saved").predict_proba(test).equals(found)
    assert predictor.embed(test).shape[1] == predictor._assembly.model.towers["text"].width


def test_a_run_of_a_pair_goes_on_as_if_it_had_never_stopped(text_folder, tmp_path):
    def job(name):
        predictor = Predictor("y", path=tmp_path / name, verbosity=0)
        options = {**TINY, "model.text.checkpoint": str(text_folder), "env.batch_size": 8, "env.checkpoint_every": 1}
        types = {"one": "text", "two": "text"}
        return predictor.fit(pairs(40), hyperparameters=options, column_types=types, resume=True)

    whole = job("whole")
    with killed_before(5):
        job("stopped")
    assert any((tmp_path / "stopped-checkpoints").iterdir())
    resumed = job("stopped")
    assert weights(resumed).keys() == weights(whole).keys()
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(whole).items())
    assert resumed.predict_proba(pairs(9)).equals(whole.predict_proba(pairs(9)))


def test_costs_count_all_readings(text_folder):
    flops = {}
    for pair in ("joint", "apart", "both"):
        built = Built(text_folder, pair)
        maps = built.input.kind.layers(built.tower)
        ids = torch.ones(4, READINGS[pair], 16, dtype=torch.long)
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        costs = layer_costs(built.tower, LayerMap.join(maps), lambda tower, batch=batch: tower(batch), 4)
        assert costs is not None
        flops[pair] = costs["text/encoder.layer.0"].flops
    assert flops["apart"] == 2 * flops["joint"]
    assert flops["both"] == 3 * flops["joint"]


@pytest.mark.parametrize("pair", ["apart", "both"])
def test_cached_prefixes_of_pairs_have_the_same_bits(text_folder, pair):
    options = {"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": 2, OPTION: pair}
    texts = pairs(48).assign(y=lambda f: np.where(f["y"] == "same", "yes", "no"))
    assert "GB in memory" in notes(check(texts, **options))
