"""The loop carries out the plan to the letter, and ends well however it ends."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from support.toy import Recorder, fit, make_model, make_run, same, state
from thermocline.data.batches import Rows
from thermocline.errors import NonFiniteError, ThermoclineWarning
from thermocline.inputs.table.rows import TableRows
from thermocline.training.time_limit import TimeLimit
from thermocline.training.trainer import Trainer


def steps_of(trainer):
    """Record what every optimizer step saw, while it fits."""
    seen = []
    make = trainer.make_optimizer

    def wrapped():
        optimizer = make()
        step = optimizer.step

        def recorded(*args, **kwargs):
            rates = {group["layer"]: group["lr"] for group in optimizer.param_groups}
            grads = [None if p.grad is None else p.grad.detach().clone() for p in trainer.trainable]
            seen.append((rates, grads))
            return step(*args, **kwargs)

        optimizer.step = recorded
        return optimizer

    trainer.make_optimizer = wrapped
    return seen


# the road


def test_two_fits_with_one_seed_are_bit_identical(tmp_path):
    one, _ = fit(tmp_path / "a", model=make_model(dropout=0.2), seed=3)
    torch.manual_seed(99)
    np.random.seed(99)
    two, _ = fit(tmp_path / "b", model=make_model(dropout=0.2), seed=3)
    assert same(state(one.model), state(two.model))
    other, _ = fit(tmp_path / "c", model=make_model(dropout=0.2), seed=4)
    assert not same(state(one.model), state(other.model))


def test_workers_change_nothing(tmp_path):
    one, _ = fit(tmp_path / "a", model=make_model(dropout=0.2), rows=24)
    two, _ = fit(tmp_path / "b", model=make_model(dropout=0.2), rows=24, env={"num_workers": 1}, optim={"max_steps": 6})
    assert same(state(one.model), state(two.model))


def test_the_callers_random_numbers_go_on_as_if_nothing_had_been(tmp_path):
    torch.manual_seed(7)
    np.random.seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(tmp_path, model=make_model(dropout=0.2))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_training_helps_and_the_best_is_kept(tmp_path):
    trainer, history = fit(tmp_path, rows=400, optim={"lr": 0.02, "max_epochs": 12})
    scores = history[f"val_{trainer.scorer.metric}"]
    assert history["note"].iloc[-1].startswith("kept: ")
    assert scores.iloc[-1] == pytest.approx(scores.max(), abs=1e-9)
    assert not trainer.model.training


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("micro", [1, 3, 5])
def test_micro_batches_add_up_to_the_batch(micro, weighted, tmp_path):
    weight = np.random.default_rng(0).uniform(0, 3, 40).astype(np.float32) if weighted else None
    runs = []
    for size, folder in ((8, "a"), (micro, "b")):
        trainer = Trainer(make_run(tmp_path / folder, weight=weight, env={"micro_batch_size": size}))
        seen = steps_of(trainer)
        trainer.fit()
        runs.append((trainer, seen))
    for one, two in zip(runs[0][1][0][1], runs[1][1][0][1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)
    last = [[row["train_loss"] for row in r[0].record.rows if not np.isnan(row["train_loss"])][-1] for r in runs]
    assert last[0] == pytest.approx(last[1], rel=1e-4)


def test_a_row_of_weight_0_teaches_nothing(tmp_path):
    weight = np.ones(40, dtype=np.float32)
    weight[:10] = 0
    runs = []
    for flip in (False, True):
        run = make_run(tmp_path / str(flip), weight=weight, optim={"head_init": "random"})
        if flip:
            target = run.train.target.copy()
            target[:10] = 1 - target[:10]
            run = run.with_rows(Rows(run.train.parts, target, weight))
        trainer = Trainer(run)
        trainer.fit()
        runs.append(state(trainer.model))
    assert same(*runs)


def test_a_batch_whose_weights_are_all_0_is_no_fault(tmp_path):
    weight = np.zeros(40, dtype=np.float32)
    weight[:6] = 1
    trainer, history = fit(tmp_path, weight=weight)
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert not history["note"].fillna("").str.contains("skipped").any()


# the plan


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("choice", ["single_lr", "two_stage", "layerwise_decay"])
def test_the_rate_at_every_step_is_the_plans_formula(choice, schedule, tmp_path):
    plan = {"lr_choice": choice, "schedule": schedule, "warmup": 0.2, "lr_decay": 0.7, "lr_mult": 3.0}
    trainer = Trainer(make_run(tmp_path, plan=plan, optim={"max_epochs": 3, "lr": 0.01}))
    seen = steps_of(trainer)
    trainer.fit()
    total = 15
    assert len(seen) == total
    scale = {layer.label: layer.lr_scale for layer in trainer.run.plan.layers}
    for step, (rates, _) in enumerate(seen):
        if step < 3:
            factor = (step + 1) / 4
        else:
            progress = (step - 3) / 12
            factor = {
                "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
                "linear": 1 - progress,
                "constant": 1.0,
            }[schedule]
        for label, rate in rates.items():
            assert rate == pytest.approx(0.01 * scale[label] * factor, rel=1e-9)
    if choice == "layerwise_decay":
        assert scale["text/blocks.1"] == pytest.approx(0.7 * scale["text/blocks.2"])
    else:
        assert scale["text/blocks.1"] == 1
        assert scale["fusion/head"] == (3 if choice == "two_stage" else 1)


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_frozen_layers_are_bit_identical_afterwards(norm, tmp_path):
    model = make_model(norm=norm, dropout=0.3)
    before = state(model)
    trainer, _ = fit(
        tmp_path, model=model, plan={"frozen_layers": ["stem", "blocks.[0-1]"]}, optim={"lr": 0.05, "max_epochs": 3}
    )
    after = state(model)
    frozen = [n for n in before if ".embed." in n or ".blocks.0." in n or ".blocks.1." in n]
    assert len(frozen) >= 10
    assert all(torch.equal(before[n], after[n]) for n in frozen)
    step_0 = trainer.best.best.step == 0
    if not step_0:
        assert any(not torch.equal(before[n], after[n]) for n in before if ".blocks.2." in n)


def test_only_trainable_parameters_have_optimizer_state(tmp_path):
    run = make_run(tmp_path, plan={"frozen_layers": ["stem", "blocks.[0-1]"]})
    trainer = Trainer(run)
    kept = []
    make = trainer.make_optimizer
    trainer.make_optimizer = lambda: kept.append(make()) or kept[0]
    trainer.fit()
    held = {id(p) for group in kept[0].param_groups for p in group["params"]}
    names = {name for name, p in run.model.named_parameters() if id(p) in held}
    assert names
    assert not any(".embed." in n or ".blocks.0." in n or ".blocks.1." in n for n in names)
    inner = getattr(kept[0], "optimizer", kept[0])
    assert {id(p) for p in inner.state} == held
    assert all(p.requires_grad for p in inner.state)


def test_batch_norm_of_a_pretrained_tower_keeps_its_statistics_where_it_is_named(tmp_path):
    for norm_eval, moves in ((True, False), (False, True)):
        model = make_model(norm=nn.BatchNorm1d)
        model.towers["text"].norm_eval = norm_eval
        before = state(model)
        run = make_run(tmp_path / str(moves), model=model)
        trainer = Trainer(run)
        trainer.fit()
        trainer.best.kept = [k for k in trainer.best.kept if k.step > 0] or trainer.best.kept
        run_state = trainer.best.load(trainer.best.kept[0])
        buffers = [n for n in before if "running_mean" in n]
        assert any(not torch.equal(before[n], run_state[n]) for n in buffers if n in run_state) == moves


def test_frozen_and_kept_modules_are_in_eval_mode_while_others_train(tmp_path):
    run = make_run(tmp_path, model=make_model(norm=nn.BatchNorm1d, dropout=0.5), plan={"frozen_layers": "blocks.0"})
    trainer = Trainer(run)
    modes = []
    step = trainer.step

    def looked(*args):
        blocks = run.model.towers["text"].backbone.blocks
        modes.append((blocks[0].drop.training, blocks[0].norm.training, blocks[1].drop.training))
        return step(*args)

    trainer.step = looked
    trainer.fit()
    assert set(modes) == {(False, False, True)}
    assert len(modes) == 10


def test_dropout_is_a_function_of_seed_and_step(tmp_path):
    """The same step draws the same numbers, whatever happened between steps."""
    drawn = []
    for extra in (False, True):
        run = make_run(
            tmp_path / str(extra), model=make_model(dropout=0.5), optim={"val_check_interval": 0.2 if extra else 1.0}
        )
        trainer = Trainer(run)
        masks = []
        run.model.towers["text"].backbone.blocks[0].drop.register_forward_hook(
            lambda module, _inputs, out, masks=masks: masks.append((out == 0).clone()) if module.training else None
        )
        trainer.fit()
        drawn.append(masks)
    assert len(drawn[0]) == len(drawn[1]) == 10
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    assert not all(torch.equal(drawn[0][0], other) for other in drawn[0][1:])


# validation and stopping


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (1.0, [5, 10]),
        (0.5, [2, 4, 6, 8, 10]),
        (0.2, list(range(1, 11))),
        (2.0, [10]),
        (1.4, [7, 10]),
        (0.01, list(range(1, 11))),
    ],
)
def test_validation_at_fractions_of_an_epoch(interval, expected, tmp_path):
    _, history = fit(tmp_path, optim={"val_check_interval": interval, "patience": 100})
    scored = history[history["train_loss"].notna()]
    assert scored["step"].tolist() == expected


def test_max_steps(tmp_path):
    trainer, history = fit(tmp_path, optim={"max_steps": 3})
    assert trainer.total_steps == 3
    assert history["step"].max() == 3


def test_early_stopping(tmp_path, monkeypatch):
    scores = iter([0.5, 0.9, 0.8, 0.7, 0.6, 0.95])
    run = make_run(tmp_path, optim={"patience": 3, "max_epochs": 20})
    trainer = Trainer(run)
    monkeypatch.setattr(trainer.scorer, "score", lambda: ((s := next(scores)), {trainer.scorer.metric: s}))
    history = trainer.fit()
    assert history["step"].max() == 4 * 5
    assert history["note"].str.contains("stopped early: no better for 3 validations").any()
    assert history["note"].iloc[-1] == "kept: step 5"


@pytest.mark.parametrize(
    ("least", "scores", "last"),
    [
        (0.0, [0.5, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.64, 0.63, 0.62], 9),
        (0.05, [0.5, 0.6, 0.61, 0.62, 0.63, 0.7], 4),  # what is better by less does not count
        (0.05, [0.5, 0.6, 0.63, 0.66, 0.69, 0.72, 0.74, 0.76, 0.765], 8),  # against the last that counted
        (0.05, [-5.0, -4.0, -3.97, -3.98, -3.99], 4),  # of less is better, as the scorer turns it
    ],
)
def test_how_much_better_a_score_has_to_be_for_patience(least, scores, last, tmp_path, monkeypatch):
    run = make_run(tmp_path, optim={"patience": 3, "max_epochs": 20, "min_delta": least})
    trainer, given = Trainer(run), iter(scores)
    monkeypatch.setattr(trainer.scorer, "score", lambda: ((s := next(given)), {trainer.scorer.metric: s}))
    history = trainer.fit()
    assert history["step"].max() == last * 5
    assert history["note"].str.contains("stopped early: no better for 3 validations").any()
    assert history["note"].iloc[-1] == f"kept: step {5 * int(np.argmax(scores[: last + 1]))}"  # it is kept all the same


def test_a_tuned_model_worse_than_its_probe_is_not_handed_out(tmp_path, monkeypatch):
    run = make_run(tmp_path, optim={"lr": 0.05, "refit": "off"})
    trainer = Trainer(run)
    scores = iter([0.9, 0.5, 0.4])
    monkeypatch.setattr(trainer.scorer, "score", lambda: ((s := next(scores)), {trainer.scorer.metric: s}))
    at_probe = []
    validate = trainer.validate
    monkeypatch.setattr(
        trainer,
        "validate",
        lambda step, *a: (at_probe.append(state(run.model)) if step == 0 else None, validate(step, *a)),
    )
    history = trainer.fit()
    assert history["note"].iloc[-1] == "kept: step 0, the probe: tuning validated worse"
    assert same(state(run.model), at_probe[0])


def test_the_history_opens_with_notes_and_the_probe(tmp_path):
    _, history = fit(tmp_path, notes=["3 rows left out"])
    assert history["note"].iloc[0] == "3 rows left out"
    assert history["note"].iloc[1].startswith("probe: logistic regression")
    assert (history["step"].iloc[:2] == 0).all()
    _, plain = fit(tmp_path / "b", optim={"head_init": "random"})
    assert plain["note"].iloc[0] == "the head starts at random"


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_problem_types(kind, tmp_path):
    _, history = fit(tmp_path, kind=kind)
    assert np.isfinite(history["train_loss"].dropna()).all()


# time and interruption


def test_a_schedule_is_made_for_the_steps_that_fit_into_the_time_limit(tmp_path, monkeypatch):
    clock = [0.0]
    deadline = TimeLimit(10.0)
    monkeypatch.setattr(type(deadline), "elapsed", property(lambda self: clock[0]))
    run = make_run(tmp_path, optim={"max_epochs": 50}, time_limit=deadline)
    trainer = Trainer(run)
    step, score = trainer.step, trainer.scorer.score

    def slow_score():
        clock[0] += 1.0
        result = score()
        trainer.scorer.seconds = 1.0
        return result

    monkeypatch.setattr(trainer, "step", lambda *a: (clock.__setitem__(0, clock[0] + 0.5), step(*a))[1])
    monkeypatch.setattr(trainer.scorer, "score", slow_score)
    history = trainer.fit()
    assert 7.0 <= clock[0] <= 10.0
    last = trainer.cursor.step
    assert trainer.cursor.total_steps == last
    noted = history["note"].str.extract(r"time_limit: the schedule is made for (\d+) of 250 steps, 0.5 s each")[0]
    assert noted.dropna().astype(int).tolist() == pytest.approx([last], abs=2)
    assert not history["note"].str.contains("stopped by the time limit").any()
    rates = history.lrs.max(axis=1)
    assert rates.iloc[-1] < 0.2 * rates.max()  # a cosine that has come to its end
    assert history["note"].iloc[-1].startswith("kept: ")
    assert not run.model.training


def test_hardly_any_time_still_gives_a_model(tmp_path):
    with pytest.warns(ThermoclineWarning, match="not validated"):
        _, history = fit(tmp_path, time_limit=TimeLimit(1e-9))
    assert history["note"].iloc[-1].startswith("kept: ")


@pytest.mark.parametrize("where", ["train", "probe", "score"])
def test_ctrl_c_keeps_the_best_so_far(where, tmp_path, monkeypatch):
    run = make_run(tmp_path, optim={"max_epochs": 10})
    trainer = Trainer(run)
    holder = {
        "train": (trainer, "step", 12),
        "probe": (trainer.scorer, "features", 1),
        "score": (trainer.scorer, "score", 2),
    }
    owner, name, last = holder[where]
    inner, calls = getattr(owner, name), []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == last:
            raise KeyboardInterrupt
        return inner(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)
    history = trainer.fit()
    assert history["note"].str.contains("Ctrl-C").any()
    assert not run.model.training
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_ctrl_c_while_a_soup_is_scored(tmp_path, monkeypatch):
    trainer = Trainer(make_run(tmp_path, optim={"top_k_average": "greedy_soup", "max_epochs": 4}))
    calls = []

    def score():
        calls.append(1)
        if len(calls) == 6:  # after step 0 and four epochs: the first soup
            raise KeyboardInterrupt
        return len(calls) / 10, {trainer.scorer.metric: len(calls) / 10}

    monkeypatch.setattr(trainer.scorer, "score", score)
    try:
        history = trainer.fit()
    except KeyboardInterrupt:
        pytest.fail("the interruption came through")
    assert history["note"].iloc[-1].startswith("kept: step 20")


# what must not go on silently


def sick_model(bad):
    model = make_model()
    model.towers["text"].register_forward_hook(_nan_hook(bad))
    return model


def _nan_hook(bad):
    calls = [0]

    def hook(module, _inputs, out):
        if module.training:
            calls[0] += 1
            if bad(calls[0]):
                return out * float("nan")
        return None

    return hook


def test_one_bad_step_is_skipped_and_noted(tmp_path):
    trainer, history = fit(tmp_path, model=sick_model(lambda call: call == 3))
    notes = history["note"][history["note"].str.contains("skipped", na=False)].tolist()
    assert len(notes) == 1
    assert "step 3 skipped: loss nan" in notes[0]
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())


def test_bad_steps_that_stay_are_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(NonFiniteError, match=r"not finite for 10 steps in a row, up to step 13.*optim\.lr"):
        fit(tmp_path, model=sick_model(lambda call: call > 3), optim={"max_epochs": 5})


def test_bad_steps_with_good_ones_between_are_survived(tmp_path):
    _, history = fit(tmp_path, model=sick_model(lambda call: call % 2 == 0), optim={"max_epochs": 6})
    assert history["note"].iloc[-1].startswith("kept: ")


def test_an_infinite_gradient_norm_without_clipping_is_noticed(tmp_path):
    model = make_model()
    model.head.weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(NonFiniteError):
        fit(tmp_path, model=model, optim={"gradient_clip": None, "max_epochs": 5, "head_init": "random"})


def test_features_that_are_not_finite_are_our_error_not_scikit_learns(tmp_path):
    model = make_model()
    model.towers["text"].register_forward_hook(lambda _m, _i, out: out * float("nan"))
    with pytest.raises(NonFiniteError):
        fit(tmp_path, model=model)


def test_where_the_loss_decides_it_is_not_written_as_the_metric(tmp_path):
    """Validation rows of one class have no ROC AUC."""
    run = make_run(tmp_path)
    part, one = run.valid.parts["text"], np.flatnonzero(run.valid.target == 0)
    rows = Rows({"text": TableRows(part.numbers[one], part.missing[one], part.codes[one])}, run.valid.target[one])
    run = replace(run, valid=rows)
    assert run.assembly.target.eval_metric == "roc_auc"
    history = Trainer(run).fit()
    assert history["val_roc_auc"].isna().all()
    assert history["val_loss"].iloc[:-1].notna().all()


def test_a_model_of_nan_is_never_called_best(tmp_path):
    run = make_run(tmp_path)
    trainer = Trainer(run)
    step = trainer.step

    def broken(number, *args):
        step(number, *args)
        if number == 5:
            with torch.no_grad():
                run.model.head.weight.fill_(float("nan"))

    trainer.step = broken
    try:
        history = trainer.fit()
    except NonFiniteError:
        return
    assert torch.isfinite(run.model.head.weight).all()
    assert history["note"].iloc[-1].startswith("kept: step 0")


# logging


def test_loggers_get_rates_by_layer_and_scores(tmp_path):
    recorder = Recorder()
    trainer, _ = fit(tmp_path, loggers=[recorder])
    names = {name for _, values in recorder.lines for name in values}
    for label in trainer.run.plan.labels:
        assert f"lr/{label}" in names
    assert "lr/text/blocks.1" in names
    assert {"loss", "train_loss", f"val_{trainer.scorer.metric}"} <= names
    steps = [step for step, _ in recorder.lines]
    assert steps == sorted(steps)
    for step, values in recorder.lines:
        if "lr/fusion/head" in values:
            cursor = trainer.run.plan.cursor(step - 1, trainer.total_steps)
            assert values["lr/fusion/head"] == trainer.run.plan.lr_at("fusion/head", cursor)


def test_the_progress_bar_and_lines_are_offered(tmp_path):
    said, shown = [], []

    def show(items, total, title):
        shown.append((title, total))
        return items

    fit(tmp_path, say=said.append, show=show)
    assert ("training", 10) in shown
    assert any(title == "validation" for title, _ in shown)
    assert any(line.startswith("epoch 1.00  step 5") for line in said)


# precision


def test_fits_of_different_precision_in_one_process(tmp_path):
    kinds = []
    for i, precision in enumerate(["fp32", "bf16", "fp32"]):
        run = make_run(tmp_path / str(i), env={"precision": precision})
        run.model.head.register_forward_hook(lambda _m, _i, out: kinds.append(out.dtype))
        trainer = Trainer(run)
        kinds.clear()
        history = trainer.fit()
        assert set(kinds) == {torch.bfloat16 if precision == "bf16" else torch.float32}
        assert all(p.dtype == torch.float32 for p in run.model.parameters())
        assert np.isfinite(history["train_loss"].dropna()).all()


def test_bf16_gradients_accumulate_too(tmp_path):
    _, history = fit(tmp_path, env={"precision": "bf16", "micro_batch_size": 3})
    assert history["note"].iloc[-1].startswith("kept: ")


# odd sizes


@pytest.mark.parametrize("rows", [9, 17, 8, 6])
def test_batch_norm_never_meets_a_single_row(rows, tmp_path):
    _, history = fit(tmp_path, model=make_model(norm=nn.BatchNorm1d), rows=rows, env={"micro_batch_size": 8})
    assert history["note"].iloc[-1].startswith("kept: ")


def test_micro_batches_never_hold_a_single_row_either(tmp_path):
    """9 rows in an effective batch, 8 at a time: the last one alone would break BatchNorm in training."""
    _, history = fit(
        tmp_path, model=make_model(norm=nn.BatchNorm1d), rows=18, env={"batch_size": 9, "micro_batch_size": 8}
    )
    assert history["note"].iloc[-1].startswith("kept: ")


def test_two_rows(tmp_path):
    run = make_run(tmp_path, rows=40)
    part = run.train.parts["text"]
    two = [int(np.flatnonzero(run.train.target == c)[0]) for c in (0, 1)]
    rows = Rows({"text": TableRows(part.numbers[two], part.missing[two], part.codes[two])}, run.train.target[two])
    run = run.with_rows(rows)
    history = Trainer(run).fit()
    assert history["note"].iloc[-1].startswith("kept: ")


def test_the_scratch_folder_holds_at_most_top_k_states(tmp_path):
    fit(tmp_path, optim={"max_epochs": 6, "top_k": 2})
    assert len(list(tmp_path.glob("*.safetensors"))) <= 2
