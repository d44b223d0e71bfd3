"""Token classification from a frame of marked texts to a saved predictor: the same road as every other problem."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from support.killed_process import run_until_killed
from support.marked_texts import make_marked, save_tiny, tiny
from support.stopping import killed_after_checkpoint
from thermocline import Predictor, cli
from thermocline.errors import ConfigError, ExportError


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny-bert")


@pytest.fixture(scope="module")
def frame():
    return make_marked(48)


@pytest.fixture(scope="module")
def fitted(frame, checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "model"
    predictor = Predictor("entities", "ner", path=path, verbosity=0)
    return predictor.fit(frame, hyperparameters=tiny(checkpoint, **{"optim.max_epochs": 5}))


def fit(frame, given, path=None, **more) -> Predictor:
    return Predictor("entities", "ner", path=path, verbosity=0).fit(frame, hyperparameters=given, **more)


def weights(predictor: Predictor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in predictor._fitted().model.state_dict().items()}


def same(left: Predictor, right: Predictor) -> bool:
    one, other = weights(left), weights(right)
    losses = [each.history["train_loss"].dropna().tolist() for each in (left, right)]
    return losses[0] == losses[1] and all(torch.equal(value, other[name]) for name, value in one.items())


def test_predict_gives_spans_in_the_rows_own_characters(fitted, frame):
    bare = frame[["text"]].set_index(pd.Index([f"row {n}" for n in range(len(frame))]))
    found = fitted.predict(bare)
    assert found.index.equals(bare.index)
    assert found.name == "entities"
    assert sum(found.map(len)) > 20
    for text, entities in zip(bare["text"], found, strict=True):
        assert [one["start"] for one in entities] == sorted(one["start"] for one in entities)
        for one in entities:
            assert list(one) == ["start", "end", "label", "score", "text"]
            assert one["text"] == text[one["start"] : one["end"]] == one["text"].strip()
            assert one["label"] in ("city", "person")
            assert 0 < one["score"] <= 1
    assert fitted.predict(bare.iloc[:0]).empty
    assert fitted.predict({"text": ["Ada saw the old house", ""]}).map(type).tolist() == [list, list]


def test_evaluate_scores_whole_entities(fitted, frame):
    scores = fitted.evaluate(frame)
    assert list(scores) == ["entity_f1", "entity_precision", "entity_recall", "entity_f1_macro"]
    assert scores["entity_f1"] > 0.9
    of_class = fitted.evaluate(frame, ["f1", "per_class"])
    names = {f"entity_{of}/{label}" for of in ("precision", "recall", "f1") for label in ("city", "person")}
    assert set(of_class) == {"f1", *names}
    assert fitted.problem_type == "token_classification"


def test_the_probe_starts_the_head(fitted):
    notes = " ".join(fitted.history["note"].dropna())
    assert "probe: logistic regression" in notes
    assert fitted.history["val_entity_f1"].dropna().iloc[0] > 0.2


def test_no_probabilities_no_features_no_export(fitted, frame, tmp_path):
    with pytest.raises(ConfigError, match="Use predict"):
        fitted.predict_proba(frame)
    with pytest.raises(ConfigError, match="no features"):
        fitted.embed(frame)
    with pytest.raises(ExportError, match="Save the predictor instead"):
        fitted.export(tmp_path / "exported")


def test_show_marks_entities_in_the_text(fitted, frame):
    shown = fitted.show(frame.iloc[1:4])
    entities = [one for row in fitted.predict(frame.iloc[1:4]) for one in row]
    text = str(shown)
    assert text == repr(shown)
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"[{one['text']}]{{{one['label']}}}" in text for one in entities)
    html = shown._repr_html_()
    assert html.count("<sub>") == len(entities) > 0
    assert fitted.show(pd.DataFrame({"text": ["<b> & Ada"]}))._repr_html_().count("&lt;b&gt; &amp;") == 1
    with pytest.raises(ConfigError, match="from 0 to 1"):
        fitted.show(frame.head(), least_score=2)


def test_results_reports_and_rows_with_most_errors(fitted, frame):
    assert "predicted" in str(fitted.show_results(frame, n=3))
    assert "tokens" in str(fitted.show_batch(frame, n=2))
    report = fitted.report(frame)
    assert {one.name: one.value for one in report.scores} == fitted.evaluate(frame)
    assert all(one.low is not None for one in report.scores)
    json.dumps(report.to_dict(), allow_nan=False)
    per_class = fitted.evaluate(frame, "per_class")
    rows = {row[0]: row for row in report["Classes"].rows}
    assert rows["city"][3] == per_class["entity_f1/city"]
    top = fitted.top_losses(frame, 3)
    assert (top["true"] == top["found"] + top["missed"]).all()
    with pytest.raises(ConfigError, match="one column"):
        fitted.importance(frame)


def test_a_saved_predictor_is_the_same_without_its_checkpoint(fitted, frame):
    again = Predictor.load(fitted.path, verbosity=0)
    assert not [file for file in Path(fitted.path).rglob("*") if file.suffix in (".bin", ".pt", ".pkl", ".py")]
    assert again.predict(frame).tolist() == fitted.predict(frame).tolist()
    assert again.evaluate(frame) == fitted.evaluate(frame)
    assert list(again.classes_) == ["city", "person"]
    assert again.plan == fitted.plan


def test_explain_and_recommend_train_nothing(frame, checkpoint):
    told = str(Predictor("entities", "ner", verbosity=0).explain(frame, hyperparameters=tiny(checkpoint)))
    assert "head" in told
    assert "live" in told  # bytes of a step are known
    made = Predictor("entities", "ner", verbosity=0).recommend(frame, hyperparameters=tiny(checkpoint), memory="8GB")
    assert "optim.lr" in str(made) or str(made)


@pytest.mark.parametrize("choice", ["single_lr", "two_stage", "layerwise_decay"])
def test_each_lr_choice(frame, checkpoint, choice):
    given = tiny(checkpoint, **{"optim.lr_choice": choice, "optim.max_epochs": 1, "optim.ema": 0.9})
    made = fit(frame, given)
    rates = {layer.name: layer.lr_scale for layer in made.plan.layers}
    head, *others = (rates.pop("head"), *rates.values())
    assert (len(set(others)), all(one < head for one in others)) == {
        "single_lr": (1, False),
        "two_stage": (1, True),
        "layerwise_decay": (3, True),
    }[choice]


def test_phases_and_a_time_limit(frame, checkpoint):
    given = tiny(checkpoint, **{"optim.schedule_plan": "gradual_unfreeze", "optim.max_epochs": 3})
    made = fit(frame, given, time_limit=60)
    assert len(made.plan.phases) > 1


def test_lora_trains_adapters_and_the_head(frame, checkpoint):
    pytest.importorskip("peft")
    made = fit(frame, tiny(checkpoint, **{"model.peft": "lora", "optim.max_epochs": 1}))
    assert any(layer.role == "adapter" for layer in made.plan.layers)
    assert isinstance(made.predict(frame).iloc[0], list)


def test_micro_batches_change_nothing(frame, checkpoint):
    """The loss is the mean over tagged tokens of the whole batch, however many each micro-batch has."""
    given = tiny(checkpoint, **{"optim.max_epochs": 1, "optim.head_init": "random", "model.text.pretrained": True})
    whole, cut = fit(frame, given), fit(frame, {**given, "env.micro_batch_size": 3})
    ours, theirs = (one.history["train_loss"].dropna().tolist() for one in (whole, cut))
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_a_frozen_backbone_from_the_cache_is_the_same_to_the_bit(frame, checkpoint):
    given = tiny(checkpoint, **{"model.frozen_layers": "backbone"})
    off, on = (fit(frame, {**given, "optim.cache_prefix": mode}) for mode in ("off", "memory"))
    assert "run once a row" in " ".join(on.history["note"].dropna())
    assert same(off, on)
    assert off.predict(frame).tolist() == on.predict(frame).tolist()


def test_a_killed_fit_goes_on_as_if_nothing_had_been(frame, checkpoint, tmp_path):
    given = tiny(checkpoint, **{"env.checkpoint_every": 2, "env.micro_batch_size": 3})
    whole = fit(frame, given)
    with killed_after_checkpoint(6):
        fit(frame, given, tmp_path / "killed")
    assert same(whole, fit(frame, given, tmp_path / "killed", resume=True))


JOB = """
from support.marked_texts import make_marked, tiny
from thermocline import Predictor
given = tiny(sys.argv[1], **{"env.checkpoint_every": 2})
Predictor("entities", "ner", path=sys.argv[2], verbosity=0).fit(make_marked(48), hyperparameters=given)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_that_is_killed_is_resumed_by_another(frame, checkpoint, tmp_path):
    run_until_killed(JOB, checkpoint, tmp_path / "killed", step=4)
    given = tiny(checkpoint, **{"env.checkpoint_every": 2})
    resumed = fit(frame, given, tmp_path / "killed", resume=True)
    assert same(fit(frame, given), resumed)


def test_a_fit_that_starts_from_another_matches_classes_by_value(fitted, frame):
    renamed = [
        [{**one, "label": {"city": "place"}.get(one["label"], one["label"])} for one in row]
        for row in frame["entities"]
    ]
    other = frame.assign(entities=renamed)
    again = Predictor("entities", "ner", verbosity=0).fit(
        other, start_from=fitted, hyperparameters={"optim.max_epochs": 1}
    )
    said = " ".join(again._fitted().built.notes)
    assert "1 of 2 classes; new are 'place'; 'city' are no labels any more" in said
    whole = Predictor("entities", "ner", verbosity=0).fit(
        frame, start_from=fitted, hyperparameters={"optim.max_epochs": 1}
    )
    assert whole.history["val_entity_f1"].dropna().iloc[0] > 0.9


def test_the_command_line(frame, checkpoint, tmp_path, capsys):
    file = tmp_path / "train.csv"
    frame.assign(entities=frame["entities"].map(json.dumps)).to_csv(file, index=False)
    options = [f"{key}={json.dumps(value)}" for key, value in tiny(checkpoint, **{"optim.max_epochs": 4}).items()]
    model = tmp_path / "model"
    code = cli.main(
        ["fit", str(file), "--label", "entities", "--problem-type", "ner", "--out", str(model), "--set", *options]
    )
    assert code in (0, None), capsys.readouterr()
    capsys.readouterr()
    cli.main(["evaluate", str(model), str(file)])
    assert "entity_f1" in capsys.readouterr().out
    cli.main(["predict", str(model), str(file), "--out", str(tmp_path / "out.csv")])
    assert json.loads(pd.read_csv(tmp_path / "out.csv").iloc[1, -1].replace("'", '"'))


def test_a_race_says_why_it_compares_nothing(frame, checkpoint, capsys):
    Predictor("entities", "ner").fit(frame, presets="auto", hyperparameters=tiny(checkpoint))
    said = " ".join(capsys.readouterr().out.split())
    assert "no other, since token_classification has no loss of a row to compare fits by" in said
    assert "loss inf" not in said
