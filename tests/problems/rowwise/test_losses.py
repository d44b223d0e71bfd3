"""Losses by name and as functions: what they are, and what fits with them give."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_pinball_loss
from torch.nn import functional as F

from support.stopping import killed_before
from support.tiny import TINY, make_table, make_texts, told
from thermocline import Predictor
from thermocline.errors import ConfigError, ResumeError
from thermocline.problems.rowwise import tree_growth
from thermocline.problems.rowwise.losses import FORMS, check_fits, read_loss, saved_loss
from thermocline.problems.rowwise.objective import by_row, row_losses

LOSSES = {
    "binary": ["cross_entropy", "focal:2", "focal:0.5"],
    "multilabel": ["cross_entropy", "focal:1", "asymmetric:4,1"],
    "regression": ["mse", "mae", "huber:0.5", "quantile:0.9", "quantiles:0.1,0.5,0.9"],
}


@pytest.fixture(scope="module", autouse=True)
def few_trees():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree_growth, "MOST", 40)
        yield


def skewed(rows, seed):
    """Numbers with noise that is skewed, and wider for some rows."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=rows), rng.normal(size=rows)
    noise = rng.exponential(1 + np.abs(x), size=rows)
    return pd.DataFrame({"x": x, "z": z, "y": 100 + 3 * x + z + 2 * noise})


def fit(frame, loss, *, metric=None, path=None, resume=False, **options):
    options = {**TINY, "optim.max_epochs": 4, "optim.loss": loss, **options}
    return Predictor("y", eval_metric=metric, path=path, verbosity=0).fit(frame, hyperparameters=options, resume=resume)


def notes(predictor):
    return "\n".join(predictor.history["note"])


# -- what they are


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in LOSSES.items() for name in names])
def test_right_outputs_cost_less_and_gradients_are_finite(kind, name):
    loss, wide = read_loss(name), 3 if "quantiles" in name or kind == "multilabel" else 1 if kind == "regression" else 2
    target = {
        "binary": torch.tensor([0, 1, 1, 0]),
        "multilabel": torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 1]]),
        "regression": torch.tensor([[0.0], [1.0], [-2.0], [4.0]]),
    }[kind]
    right = F.one_hot(target, 2) * 8.0 - 4 if kind == "binary" else target * 8 - 4
    right = target.expand(4, wide) if kind == "regression" else right
    losses = []
    for outputs in (right, torch.zeros(4, wide) + 0.5, -right, torch.full((4, wide), 1e4), torch.full((4, wide), -1e4)):
        given_outputs = outputs.clone().float().requires_grad_()
        found = row_losses(loss, given_outputs, target, smoothing=0.0)
        found.sum().backward()
        assert found.shape == (4,)
        assert torch.isfinite(found).all()
        assert torch.isfinite(given_outputs.grad).all()
        losses.append(float(found.detach().mean()))
    assert losses[0] == min(losses)


def test_focal_of_gamma_0_is_cross_entropy_and_two_classes_are_a_label():
    outputs, target = torch.randn(9, 4), torch.arange(9) % 4
    for smoothing in (0.0, 0.2):
        torch.testing.assert_close(
            row_losses(read_loss("focal:0"), outputs, target, smoothing=smoothing),
            F.cross_entropy(outputs, target, reduction="none", label_smoothing=smoothing),
        )
        logit, label = torch.randn(9), torch.arange(9) % 2
        two = row_losses(read_loss("focal"), torch.stack([-logit / 2, logit / 2], 1), label, smoothing=smoothing)
        one = row_losses(read_loss("focal"), logit[:, None], label[:, None].float(), smoothing=smoothing)
        torch.testing.assert_close(one, two)


def test_focal_is_torchvisions():
    from torchvision.ops import sigmoid_focal_loss

    outputs, target = torch.randn(9, 4), torch.randint(0, 2, (9, 4)).float()
    wanted = sigmoid_focal_loss(outputs, target, alpha=-1, gamma=2, reduction="none").mean(dim=1)
    torch.testing.assert_close(row_losses(read_loss("focal:2"), outputs, target), wanted)


@given(st.floats(0.01, 0.99), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_the_quantile_loss_is_least_at_the_quantile(level, seed):
    """It is scikit-learn's, and a constant costs least where a share `level` of the truth lies below it."""
    truth = np.random.default_rng(seed).exponential(size=101).astype(np.float32)
    target, loss = torch.from_numpy(truth)[:, None], read_loss(f"quantile:{level!r}")
    costs = [float(row_losses(loss, torch.full((101, 1), float(one)), target).double().mean()) for one in truth]
    best = float(truth[int(np.argmin(costs))])
    assert min(costs) == pytest.approx(mean_pinball_loss(truth, np.full(101, best), alpha=level), rel=1e-4)
    assert (truth < best).mean() <= level + 1e-6
    assert (truth <= best).mean() >= level - 1e-6


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("focal", "focal:2"),
        ("focal(gamma=1.5)", "focal:1.5"),
        ("FOCAL_LOSS: 3", "focal:3"),
        ("bce", "cross_entropy"),
        ("l1", "mae"),
        ("smooth-l1", "huber:1"),
        ("pinball(0.123456789)", "quantile:0.123456789"),
        ("quantiles: 0.95, 0.5, 0.05", "quantiles:0.05,0.5,0.95"),
        ("asymmetric(gamma_positive=0)", "asymmetric:4,0"),
    ],
)
def test_spellings(written, canonical):
    assert str(read_loss(written)) == canonical
    assert saved_loss(canonical) == read_loss(written)


@pytest.mark.parametrize(
    ("written", "part"),
    [
        ("focl", "Did you mean 'focal'"),
        ("quantile", "takes level, above 0 and below 1, such as 'quantile:0.9'"),
        ("quantile:1", "above 0 and below 1"),
        ("quantile:0.5,0.6", "takes level"),
        ("quantiles:0.5", "2 to 99 different levels"),
        ("quantiles:0.5,0.5", "different levels"),
        ("mse:1", "takes no number"),
        ("huber:0", "above 0"),
        ("huber(beta=1)", "takes delta"),
        ("focal:x", "takes gamma"),
        ("focal:nan", "takes gamma"),
        ("my.module.loss", "handed in from Python"),
        ("my.module:loss", "handed in from Python"),
    ],
)
def test_faults_of_a_name(written, part):
    assert part in told(ConfigError, ValueError, lambda: read_loss(written))


def test_a_loss_of_another_problem_type():
    for name, form in FORMS.items():
        text = {"quantile": "quantile:0.5", "quantiles": "quantiles:0.1,0.9"}.get(name, name)
        for kind in ("binary", "multiclass", "multilabel", "regression"):
            if kind in form.problem_types:
                check_fits(read_loss(text), kind)
            else:
                message = told(ConfigError, ValueError, lambda t=text, k=kind: check_fits(read_loss(t), k))
                assert f"this one is {kind}. Losses for it:" in message
    message = told(ConfigError, ValueError, lambda: fit(make_table(), "quantile:0.9"))
    assert "is for regression problems" in message


# -- numbers


@pytest.fixture(scope="module")
def test_rows():
    return skewed(3000, 99)


def test_a_quantile_holds_its_share_of_new_rows(test_rows):
    """The law: on skewed noise about 90 % of new rows lie below the quantile of .9, and 20 % below that of .2."""
    train = skewed(700, 1)
    for level in (0.9, 0.2):
        fitted = fit(train, f"quantile:{level}")
        assert fitted.eval_metric == f"pinball:{level}"
        below = (test_rows["y"] <= fitted.predict(test_rows)).mean()
        assert below == pytest.approx(level, abs=0.045)
        assert "trees: " in notes(fitted)


@pytest.mark.parametrize("transform", ["none", "log"])
def test_several_quantiles_give_intervals(test_rows, tmp_path, transform):
    loss = "quantiles:0.05,0.25,0.5,0.75,0.95"
    longer = {"optim.max_epochs": 15, "optim.lr": 0.01, "data.target_transform": transform}
    fitted = fit(skewed(700, 1), loss, path=tmp_path / "saved", **longer)
    assert fitted.eval_metric == "pinball"
    assert "no trees beside the network" in notes(fitted)
    found = fitted.predict_interval(test_rows)
    names = [f"quantile_{level}" for level in ("0.05", "0.25", "0.5", "0.75", "0.95")]
    assert list(found.columns) == ["lower", "prediction", "upper", *names]
    assert (found[names].diff(axis=1).iloc[:, 1:] >= 0).all().all()  # none cross
    pd.testing.assert_series_equal(found["prediction"], fitted.predict(test_rows), check_names=False)
    pd.testing.assert_series_equal(found["prediction"], found["quantile_0.5"], check_names=False)
    assert (found["lower"] <= found["prediction"]).all()
    assert (found["prediction"] <= found["upper"]).all()
    for coverage in (0.5, 0.7, 0.9, 0.95):
        of = fitted.predict_interval(test_rows, coverage)
        assert test_rows["y"].between(of["lower"], of["upper"]).mean() == pytest.approx(coverage, abs=0.07)
    wide = found["upper"] - found["lower"]
    far = test_rows["x"].abs() > 1
    assert wide[far].mean() > 1.05 * wide[~far].mean()  # where the noise is wider
    scores = fitted.evaluate(test_rows, ["pinball", "pinball:0.95", "mae"])
    assert scores["pinball:0.95"] == pytest.approx(
        mean_pinball_loss(test_rows["y"], found["quantile_0.95"], alpha=0.95), rel=1e-4
    )
    again = Predictor.load(tmp_path / "saved", verbosity=0)
    pd.testing.assert_frame_equal(again.predict_interval(test_rows, 0.7), fitted.predict_interval(test_rows, 0.7))
    assert again.evaluate(test_rows, ["pinball", "pinball:0.95", "mae"]) == scores


def test_absolute_errors_give_medians(test_rows):
    fitted = fit(skewed(500, 2), "mae")
    assert fitted.eval_metric == "mae"
    assert (test_rows["y"] <= fitted.predict(test_rows)).mean() == pytest.approx(0.5, abs=0.06)
    assert "trees: " in notes(fitted)
    kept = fit(skewed(300, 2), "huber:0.5", **{"optim.max_epochs": 1, "model.trees": "on"})
    assert (kept.eval_metric, kept.config.optim.loss) == ("mae", "huber:0.5")
    assert "no trees beside the network: they cannot be grown for optim.loss=huber:0.5" in notes(kept)
    assert fit(skewed(60, 2), "mae", metric="r2", **{"optim.max_epochs": 1}).eval_metric == "r2"


def test_the_probe_that_is_kept_is_the_quantile():
    train, new = skewed(400, 3), skewed(2000, 4)
    kept = fit(train, "quantile:0.9", **{"optim.lr": 1e-9, "optim.max_epochs": 1, "model.trees": "off"})
    assert (new["y"] <= kept.predict(new)).mean() == pytest.approx(0.9, abs=0.05)


def test_the_loss_that_is_there_anyway_changes_no_bit():
    for frame, loss in ((skewed(120, 1), "mse"), (make_table(120), "cross_entropy")):
        one, other = (fit(frame, name, **{"optim.max_epochs": 1}) for name in (None, loss))
        for name, tensor in one._assembly.model.state_dict().items():
            assert torch.equal(tensor, other._assembly.model.state_dict()[name])


# -- classes


def test_focal_fits_classes():
    fitted = fit(make_table(150), "focal", **{"optim.label_smoothing": 0.1})
    assert fitted.evaluate(make_table(200, seed=1))["accuracy"] > 0.8
    assert fitted.config.optim.loss == "focal"


def test_asymmetric_fits_labels():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2))
    frame = pd.DataFrame({"x": x[:, 0], "z": x[:, 1], "a": (x[:, 0] > 0).astype(int), "b": (x[:, 1] > 1).astype(int)})
    options = {**TINY, "optim.max_epochs": 4, "optim.loss": "asymmetric"}
    fitted = Predictor(["a", "b"], verbosity=0).fit(frame, hyperparameters=options)
    assert fitted.evaluate(frame, "f1_macro")["f1_macro"] > 0.8


# -- a function of one's own


def own_squares(outputs, targets, weights):
    assert outputs.dtype == targets.dtype == weights.dtype == torch.float32
    assert outputs.shape == targets.shape == (len(weights), 1)
    return (outputs - targets).square().squeeze(1)


class OwnEntropy:
    """An object that is called."""

    def __call__(self, outputs, targets, weights):
        return F.cross_entropy(outputs, targets, reduction="none")


def scaled(outputs, targets, weights, *, factor):
    return factor * F.cross_entropy(outputs, targets, reduction="none")


def test_a_function_learns_as_the_loss_that_it_is():
    """But for what is fitted beside the network, which is left out; rows have weights."""
    beside = {"model.trees": "off", "optim.max_epochs": 2, "optim.head_init": "random"}
    frame = skewed(150, 1).assign(w=lambda f: 1 + (f["x"] > 0))
    for loss in ("mse", own_squares):
        options = {**TINY, **beside, "optim.loss": loss}
        made = Predictor("y", sample_weight="w", verbosity=0).fit(frame, hyperparameters=options)
        if loss == "mse":
            wanted = made.predict(frame)
    np.testing.assert_allclose(made.predict(frame), wanted, rtol=1e-5)
    assert made.config.optim.loss == f"{__name__}:own_squares"
    assert made.config.provenance["optim.loss"] == "user"


@pytest.mark.parametrize("loss", [OwnEntropy(), functools.partial(scaled, factor=2.0)])
def test_a_function_is_saved_by_name_and_not_needed_to_predict(loss, tmp_path):
    frame = make_table(140)
    fitted = Predictor("y", path=tmp_path / "saved", verbosity=0).fit(
        frame, hyperparameters=[{"optim": {"loss": loss}}, TINY]
    )
    assert "no trees beside the network: they cannot be grown for optim.loss=" in notes(fitted)
    again = Predictor.load(tmp_path / "saved", verbosity=0)
    pd.testing.assert_frame_equal(again.predict_proba(frame), fitted.predict_proba(frame), check_exact=True)
    assert again.config.optim.loss == fitted.config.optim.loss
    assert "OwnEntropy" in again.config.optim.loss or "scaled(factor=2.0)" in again.config.optim.loss
    for file in (tmp_path / "saved").iterdir():
        assert file.suffix in (".json", ".yaml", ".safetensors", "")
    saved = again.config.optim.loss  # names a function, and holds none
    message = told(ConfigError, ValueError, lambda: fit(frame, saved))
    assert "names a function, which is handed in from Python" in message


def test_a_function_is_called_once_before_anything_is_built(monkeypatch):
    monkeypatch.setattr("thermocline.problems.rowwise.problem.Rowwise.build", None)

    def returns(value):
        return lambda outputs, targets, weights: value(outputs)

    faults = [
        (returns(lambda o: o.mean()), "float32 ()", "reduction='none'"),
        (returns(lambda o: o), "float32 (8, 2)", "End in .mean(dim=1)"),
        (returns(lambda o: o[:, :1]), "float32 (8, 1)", "End in .squeeze(1)"),
        (returns(lambda o: o[:3, 0]), "float32 (3,)", "the loss of each row"),
        (returns(lambda o: o.argmax(1)), "int64 (8,)", "a float tensor (8,)"),
        (returns(lambda o: o.argmax(1).float()), "no gradient", "argmax"),
        (returns(lambda o: o[:, 0].detach()), "no gradient", ".detach()"),
        (
            returns(lambda o: o[:, 0] / 0),
            "not finite",
            "[",
        ),
        (returns(lambda o: (o[:, 0] * 0).sqrt()), "gradient that is not finite", "clamp"),
        (returns(lambda o: o[:, 0].tolist()), "returned list", "a float tensor"),
        (returns(lambda o: o[:, 5]), "raised IndexError", "outputs float32 (8, 2), targets int64 (8,)"),
        (lambda outputs, targets: outputs.mean(1), "raised TypeError", "(outputs, targets, weights)"),
    ]
    for function, *parts in faults:
        message = told(ConfigError, ValueError, lambda f=function: fit(make_table(), f))
        for part in ("optim.loss: ", *parts):
            assert part in message


def test_functions_are_for_this_option_alone():
    message = told(ConfigError, ValueError, lambda: fit(make_table(), None, **{"optim.lr": lambda step: 1.0}))
    assert "optim.lr: " in message
    assert "it takes a number" in message
    assert "is a class" in told(ConfigError, ValueError, lambda: fit(make_table(), OwnEntropy))
    message = told(ConfigError, ValueError, lambda: fit(make_table(), OwnEntropy(), **{"optim.label_smoothing": 0.1}))
    assert "Smooth the labels in it" in message


def test_stopped_and_resumed_it_is_never_stopped(tmp_path):
    options = {"env.checkpoint_every": 1}
    frame = skewed(120, 5)
    whole = fit(frame, own_squares, path=tmp_path / "whole", **options)
    with killed_before(9):
        fit(frame, own_squares, path=tmp_path / "run", **options)

    def other(outputs, targets, weights):
        return own_squares(outputs, targets, weights)

    message = told(ResumeError, ValueError, lambda: fit(frame, other, path=tmp_path / "run", resume=True, **options))
    assert "optim.loss" in message
    message = told(ResumeError, ValueError, lambda: fit(frame, None, path=tmp_path / "run", resume=True, **options))
    assert "own_squares" in message
    again = fit(frame, own_squares, path=tmp_path / "run", resume=True, **options)
    assert any("resumed" in note or note for note in again.history["note"])
    for name, tensor in whole._assembly.model.state_dict().items():
        assert torch.equal(tensor, again._assembly.model.state_dict()[name])
    assert (tmp_path / "whole" / "task.json").read_text() == (tmp_path / "run" / "task.json").read_text()


def test_it_is_explained_and_searched_with():
    def branches(outputs, targets, weights):
        return (outputs - targets).square().squeeze(1) * (2.0 if float(outputs.detach().max()) > 0 else 1.0)

    options = {**TINY, "optim.loss": branches}
    plan = Predictor("y", verbosity=0).explain(skewed(60, 0), hyperparameters=options)
    assert plan.estimate.estimate.live is not None
    options = {**TINY, "optim.loss": branches, "optim.lr": "choice(1e-3, 1e-2)", "optim.max_epochs": 1}
    found = Predictor("y", verbosity=0).fit(skewed(60, 0), hyperparameters=options, search={"trials": 2})
    assert len(found.leaderboard()) == 2


def test_a_search_over_losses_compares_by_one_metric():
    options = {**TINY, "optim.loss": "choice(mse, mae)", "optim.max_epochs": 1}
    found = Predictor("y", verbosity=0).fit(skewed(80, 0), hyperparameters=options, search={"trials": 3})
    assert found.eval_metric == "rmse"
    assert found.config.optim.loss in ("mse", "mae")


def test_texts_learn_quantiles(text_folder):
    frame = make_texts(140)
    frame["y"] = np.where(frame["y"] == "good", 10.0, 2.0) + np.random.default_rng(0).exponential(size=140)
    options = {**TINY, "optim.loss": "quantile:0.8", "optim.max_epochs": 1, "model.text.checkpoint": str(text_folder)}
    fitted = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
    assert "no TF-IDF model beside the network" in notes(fitted)
    assert (frame["y"] <= fitted.predict(frame)).mean() == pytest.approx(0.8, abs=0.12)


def test_the_members_of_an_ensemble_each_have_a_function():
    objective = by_row(read_loss("here:own_squares", own_squares))
    outputs, target = torch.randn(4, 5, 1), torch.randn(4, 1)
    batch = {"target": target, "rows": torch.arange(4), "weight": torch.rand(4)}
    each = torch.stack([objective.total(outputs[:, k], batch) for k in range(5)])
    torch.testing.assert_close(objective.total(outputs, batch), each.mean())


def test_a_function_gives_one_loss_a_row_for_any_number_of_rows():
    def squeezed(outputs, targets, weights):
        return (outputs - targets).abs().squeeze()

    def by_size(outputs, targets, weights):
        losses = (outputs - targets).abs()
        return losses if len(losses) < 3 else losses.mean(dim=1)

    one, two = torch.ones(1, 1), torch.ones(2, 1)
    assert row_losses(read_loss("mine:squeezed", squeezed), 3 * one, one).tolist() == [2.0]
    message = told(ConfigError, ValueError, lambda: row_losses(read_loss("mine:by_size", by_size), two, two))
    assert "(2, 1) for 2 rows" in message
    assert "(2,), for any number of rows" in message
