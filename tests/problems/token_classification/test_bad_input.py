"""What a user may give wrong, and what the message says; and what looks wrong and is not."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from support.marked_texts import make_marked, save_tiny, tiny
from support.tiny import told
from thermocline import Predictor
from thermocline.contracts.labelled import Reading
from thermocline.contracts.request import Request
from thermocline.errors import (
    ColumnTypeError,
    ConfigError,
    DataError,
    LabelError,
    MissingColumnError,
    ThermoclineWarning,
)
from thermocline.problems.token_classification.info import INFO
from thermocline.problems.token_classification.problem import TokenClassification

FRAME = make_marked(12)
SPAN = [{"start": 0, "end": 2, "label": "a"}]


def read(data, label="entities", purpose="train", **given):
    options = given.pop("options", {})
    request = Request(data, label, hyperparameters=options, problem_type="token_classification", **given)
    config = request.settled(INFO)
    problem = TokenClassification()
    problem.check_request(request, config)
    return problem.read(data, Reading("train_data", purpose, request, config)), request


def message(error, builtin, *arguments, **given) -> str:
    return told(error, builtin, lambda: read(*arguments, **given))


def test_columns_that_do_not_fit():
    both = FRAME.assign(title=FRAME["text"] + " and more words of a title")
    said = message(DataError, ValueError, both)
    assert "2 columns of texts: 'text', 'title'" in said
    assert "data.text_column='text'" in said
    found, _ = read(both, options={"data.text_column": "title"})
    assert list(found.frame.columns) == ["title", "entities"]
    assert next(iter(read(both, column_types={"title": "null"})[0].frame.columns)) == "text"
    assert next(iter(read(both, column_types={"title": "text"})[0].frame.columns)) == "title"
    assert "is no column of train_data" in message(ConfigError, ValueError, FRAME, options={"data.text_column": "txt"})
    assert "'txt'" in message(MissingColumnError, KeyError, FRAME.rename(columns={"entities": "txt"}), label="txtt")
    numbers = FRAME.assign(text=np.arange(len(FRAME)) * 1.5)
    assert "has no column of texts" in message(DataError, ValueError, numbers)
    lists = FRAME.assign(text=[["a"]] * len(FRAME))
    assert "data.token_column='text'" in message(DataError, ValueError, lists)
    odd = FRAME.assign(text=[*FRAME["text"][:-1], {"a": 1}])
    assert "row 11" in message(ColumnTypeError, ValueError, odd)
    assert "'numeric'" in message(ConfigError, ValueError, FRAME, column_types={"text": "numeric"})
    assert "one column of spans" in message(ConfigError, ValueError, FRAME, label=["a", "b"])
    two = {"data.token_column": "tokens", "data.text_column": "text"}
    assert "two columns of texts" in message(ConfigError, ValueError, FRAME, options=two)
    assert "is the label" in message(ConfigError, ValueError, FRAME, weight="entities")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([["O", "B-a"]] * 12, "holds tags of tokens"),
        (["O B-a"] * 12, "holds tags of tokens"),
        ([SPAN] * 11 + [None], "row 11 has no label"),
        ([SPAN] * 11 + [[{"start": 0, "end": 900, "label": "a"}]], "row 11: the span"),
        ([SPAN * 2] + [SPAN] * 11, r"overlap in 1 row: row 0"),
    ],
)
def test_labels_that_cannot_be_used(cells, said):
    assert said in message(LabelError, ValueError, FRAME.assign(entities=cells))


def test_tokens_and_tags():
    frame = pd.DataFrame({"words": [["Ada", "saw"], ["NA", "null"]], "tags": [["B-per", "O"], ["B-org", "O"]]})
    found, _ = read(frame, "tags", options={"data.token_column": "words"})
    assert found.frame["words"].tolist() == ["Ada saw", "NA null"]
    assert found.labels.classes() == ("org", "per")
    assert "data.token_column, one of 'words'" in message(
        LabelError, ValueError, frame.assign(words=["Ada saw", "NA null"]), "tags"
    )
    short = frame.assign(tags=[["O"], ["O", "O"]])
    assert "row 0: 1 tags for 2 tokens" in message(
        LabelError, ValueError, short, "tags", options={"data.token_column": "words"}
    )
    odd = frame.assign(words=[3, ["a", "b"]])
    assert "no list of tokens" in message(DataError, ValueError, odd, "tags", options={"data.token_column": "words"})


def test_words_that_mean_missing_elsewhere_stay_text(tmp_path):
    file = tmp_path / "a.csv"
    labels = [json.dumps([{"start": 0, "end": len(word), "label": "NA"}]) for word in ("NA", "null", "None", "nan")]
    pd.DataFrame({"text": ["NA", "null", "None", "nan"], "entities": labels, "id": range(4)}).to_csv(file, index=False)
    found, _ = read(file)
    assert found.frame["text"].tolist() == ["NA", "null", "None", "nan"]
    assert found.labels.classes() == ("NA",)
    conll = tmp_path / "a.conll"
    conll.write_text("NA B-org\nnull O\n\nnan B-org\n")
    found, _ = read(conll)
    assert found.frame["text"].tolist() == ["NA null", "nan"]


def test_too_few_rows_with_entities():
    problem, frame = TokenClassification(), FRAME.assign(entities=[[]] * 11 + [SPAN])
    found, request = read(frame)
    said = told(LabelError, ValueError, lambda: problem.find_target(found, request))
    assert "holds entities in 1 row of 12" in said


def test_a_weight_of_nothing_leaves_a_row_out_with_its_label():
    found, _ = read(FRAME.assign(w=[0.0] + [1.0] * 11), weight="w")
    assert len(found.frame) == len(found.labels) == 11


def test_the_callers_frame_is_not_touched():
    frame = FRAME.copy(deep=True)
    read(frame)
    assert frame.equals(FRAME)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny-bert")


def test_classes_that_validation_alone_has_count_as_not_found(checkpoint):
    other = [[{**one, "label": "new"} for one in row] for row in FRAME["entities"]]
    valid = FRAME.assign(entities=other)
    given = tiny(checkpoint, **{"optim.max_epochs": 1})
    with pytest.warns(ThermoclineWarning, match="training did not see: 'new'"):
        made = Predictor("entities", "ner", verbosity=0).fit(FRAME, valid, hyperparameters=given)
    with pytest.warns(ThermoclineWarning, match="count as not found"):
        assert made.evaluate(valid)["entity_f1"] == 0


def test_options_of_other_problems_are_refused(checkpoint):
    for options, said in (
        ({"optim.loss": "focal"}, "cross-entropy of each token"),
        ({"optim.mixup": 0.2}, "not mixed"),
    ):
        fit = Predictor("entities", "ner", verbosity=0).fit
        with pytest.raises(ConfigError, match=said):
            fit(FRAME, hyperparameters=tiny(checkpoint, **options))
    with pytest.raises(ConfigError, match="has room for"):
        Predictor("entities", "ner", verbosity=0).fit(
            FRAME, hyperparameters=tiny(checkpoint, **{"model.entities.stride": 500})
        )


def test_a_conll_file_trains_and_predicts_and_weights_count(checkpoint, tmp_path):
    file = tmp_path / "train.conll"
    file.write_text("Ada B-person\nsaw O\nOslo B-city\n\nthe O\nhouse O\n\n" * 6)
    given = tiny(checkpoint, **{"optim.max_epochs": 1, "optim.head_init": "random"})
    made = Predictor("tags", "ner", verbosity=0).fit(str(file), hyperparameters=given)
    assert set(made.evaluate(str(file))) >= {"entity_f1"}
    assert len(made.predict(str(file))) == 12
    weighted = FRAME.assign(w=np.linspace(0.5, 2, len(FRAME)))
    Predictor("entities", "ner", sample_weight="w", verbosity=0).fit(weighted, hyperparameters=given)
