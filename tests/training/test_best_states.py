"""The best states of a run: which are kept, and what they become."""

import numpy as np
import pytest
import torch
from torch import nn

from thermocline.contracts.learning import Judged
from thermocline.training.best_states import BestStates, Scored, average, restore, tuned_state


def one(value, count=0):
    return {"w": torch.tensor([float(value)]), "n": torch.tensor(count)}


def filled(folder, scores, *, top_k=3, first=0):
    best = BestStates(folder, top_k)
    for step, score in enumerate(scores, start=first):
        best.offer(step, Scored(score), lambda step=step: one(step * 10, step))
    return best


def by_value(target):
    """Scores a state higher the nearer its weight is to the target."""
    return lambda state: Scored(-abs(float(state["w"]) - target))


def yes():
    return True


# keeping


def test_the_k_best_are_kept_and_the_files_of_others_go(tmp_path):
    best = filled(tmp_path, [0.1, 0.5, 0.3, 0.4, 0.2], top_k=3)
    assert [k.step for k in best.kept] == [1, 3, 2]
    assert {p.name for p in tmp_path.iterdir()} == {f"step-{s}.safetensors" for s in (1, 2, 3)}


def test_offer_says_whether_it_is_the_best(tmp_path):
    best = BestStates(tmp_path, 2)
    assert [best.offer(s, Scored(v), lambda: one(0)) for s, v in enumerate([0.1, 0.3, 0.2, 0.3])] == [
        True,
        True,
        False,
        True,
    ]


def test_a_state_that_is_not_kept_is_not_taken(tmp_path):
    best = filled(tmp_path, [0.5, 0.6], top_k=2)
    best.offer(7, Scored(0.1), lambda: pytest.fail("copied for nothing"))


def test_nan_is_the_worst_of_all(tmp_path):
    best = filled(tmp_path, [float("nan"), -5.0, float("nan"), -float("inf")])
    assert best.best.step == 1
    assert best.best.score == -5.0


def test_among_equals_the_later_is_better(tmp_path):
    assert filled(tmp_path, [0.5, 0.5, 0.5], top_k=2).best.step == 2


def test_nothing_was_offered(tmp_path):
    assert BestStates(tmp_path / "new", 2).best is None
    assert (tmp_path / "new").is_dir()


# averaging


def test_averages_by_hand():
    mean = average([one(1, 5), one(2, 6), one(6, 7)])
    assert mean["w"].item() == 3.0
    assert mean["n"].item() == 5  # counters are not averaged


def test_averages_keep_their_dtype():
    states = [{"w": torch.tensor([v], dtype=torch.bfloat16)} for v in (1.0, 2.0)]
    assert average(states)["w"].dtype == torch.bfloat16


def test_best_is_the_best(tmp_path):
    best = filled(tmp_path, [0.1, 0.2, 0.9, 0.3])
    state, scored, said = best.choose("best", lambda _: pytest.fail("nothing to score"), yes)
    assert (state["w"].item(), scored.score, said) == (20.0, 0.9, "step 2")


def test_uniform_soup_by_hand(tmp_path):
    best = filled(tmp_path, [-9.0, -5.0, -4.0, -3.0], top_k=3)
    state, scored, said = best.choose("uniform_soup", by_value(21), yes)
    assert state["w"].item() == pytest.approx(20.0)  # of steps 1, 2, 3: 10, 20, 30
    assert scored.score == -1.0
    assert said == "average of steps [1, 2, 3]"


def test_a_soup_below_the_best_is_not_handed_out(tmp_path):
    best = filled(tmp_path, [-9.0, -5.0, -4.0, -3.0])
    for how in ("uniform_soup", "greedy_soup"):
        state, scored, said = best.choose(how, lambda _: Scored(-100.0), yes)
        assert (state["w"].item(), scored.score, said) == (30.0, -3.0, "step 3")


def test_a_soup_that_scores_nan_is_not_handed_out(tmp_path):
    best = filled(tmp_path, [-9.0, -5.0, -4.0, -3.0])
    for how in ("uniform_soup", "greedy_soup"):
        assert best.choose(how, lambda _: Scored(float("nan")), yes)[2] == "step 3"


def test_greedy_soup_by_hand(tmp_path):
    """Ranked 40, 10, 30, 20. With 10: mean 25; with 30: 26.7, nearer to 29; with 20: 25."""
    best = BestStates(tmp_path, 4)
    for step, score in ((4, -1.0), (1, -2.0), (3, -3.0), (2, -4.0)):
        best.offer(step, Scored(score), lambda step=step: one(step * 10))
    seen = []

    def evaluate(state):
        seen.append(round(float(state["w"]), 3))
        return Scored({25.0: -9.0, 35.0: -0.5, 30.0: -0.7}[seen[-1]])

    state, scored, said = best.choose("greedy_soup", evaluate, yes)
    assert seen == [25.0, 35.0, 30.0]  # 10 is refused, 30 taken, 20 refused
    assert state["w"].item() == 35.0
    assert scored.score == -0.5
    assert said == "average of steps [3, 4]"


def test_the_probe_is_never_an_ingredient(tmp_path):
    best = filled(tmp_path, [0.5, 0.6, 0.55])  # step 0 is kept among them
    seen = []
    best.choose("uniform_soup", lambda s: seen.append(s["w"].item()) or Scored(1.0), yes)
    assert seen == [15.0]
    greedy = []
    best.choose("greedy_soup", lambda s: greedy.append(s["w"].item()) or Scored(1.0), yes)
    assert greedy == [15.0]


def test_a_probe_that_is_best_is_handed_out_as_it_is(tmp_path):
    best = filled(tmp_path, [0.9, 0.5, 0.6])
    for how in ("best", "uniform_soup", "greedy_soup"):
        state, scored, _ = best.choose(how, lambda _: pytest.fail("no soup"), yes)
        assert (state["w"].item(), scored.score) == (0.0, 0.9)


@pytest.mark.parametrize("how", ["uniform_soup", "greedy_soup"])
def test_without_time_the_best_is_taken(how, tmp_path):
    best = filled(tmp_path, [0.1, 0.2, 0.3], first=1)
    state, scored, _ = best.choose(how, lambda _: pytest.fail("no time"), lambda: False)
    assert (state["w"].item(), scored.score) == (30.0, 0.3)


@pytest.mark.parametrize("how", ["best", "uniform_soup", "greedy_soup"])
def test_no_choice_is_below_the_best(how, tmp_path):
    rng = np.random.default_rng(0)
    for trial in range(20):
        best = filled(tmp_path / f"{how}{trial}", rng.random(6).tolist(), top_k=4)
        _, scored, _ = best.choose(how, lambda _: Scored(float(rng.random())), yes)
        assert scored.score >= best.best.score


# judged by more than the score


def judge(outputs):
    """Outputs `[loss, scores…]`."""
    return Judged(float(outputs[0]), np.array(outputs[1:], dtype=float))


def judged(folder, states, *, top_k=3):
    """Offer states: score, loss, and what the score is with parts of the rows left out."""
    best = BestStates(folder, top_k, judge)
    for step, (score, loss, *parts) in enumerate(states):
        best.offer(step, Scored(score, np.array([loss, *parts], dtype=np.float32)), lambda step=step: one(step))
    return best


def noisy(level, noise):
    return [level + noise * (-1) ** k for k in range(8)]


def test_among_scores_that_differ_by_chance_the_least_loss_is_best(tmp_path):
    states = [(0.80, 0.3, *noisy(0.80, 0)), (0.81, 0.9, *noisy(0.81, 0.05)), (0.50, 0.1, *noisy(0.50, 0))]
    best = judged(tmp_path, states)
    assert [kept.step for kept in best.kept] == [0, 1, 2]  # the third is behind, whatever its loss


def test_a_score_that_is_clearly_better_is_best_whatever_its_loss(tmp_path):
    states = [(0.80, 0.3, *noisy(0.80, 0.05)), (0.90, 0.9, *(one + 0.1 for one in noisy(0.80, 0.05)))]
    assert judged(tmp_path, states).best.step == 1


def test_the_best_score_is_kept_to_compare_with(tmp_path):
    """Each is within chance of the one before: without it the scores would go down step by step."""
    drift = [(0.80 - 0.02 * k, 0.9 - 0.1 * k, *noisy(0.80 - 0.02 * k, 0.01 * (k % 2))) for k in range(6)]
    best = judged(tmp_path, drift, top_k=2)
    assert any(kept.step == 0 for kept in best.kept)
    assert best.best.score > 0.77


def test_an_undefined_metric_leaves_it_to_the_score(tmp_path):
    states = [(0.8, 0.3, *[np.nan] * 8), (0.81, 0.9, *noisy(0.81, 0.1))]
    assert judged(tmp_path, states).best.step == 1


def test_what_outputs_are_worth_is_known_again_after_a_stop(tmp_path):
    states = [(0.80, 0.3, *noisy(0.80, 0)), (0.81, 0.9, *noisy(0.81, 0.05)), (0.79, 0.2, *noisy(0.79, 0.05))]
    best = judged(tmp_path, states)
    again = BestStates(tmp_path, 3, judge)
    again.adopt({kept.step: kept.score for kept in best.kept})
    assert [(one.step, one.judged.loss) for one in again.kept] == [(one.step, one.judged.loss) for one in best.kept]


@pytest.mark.parametrize(("loss", "taken"), [(0.1, True), (0.8, False)])
def test_a_soup_within_chance_is_taken_for_its_loss(loss, taken, tmp_path):
    states = [(0.5, 0.9, *noisy(0.5, 0)), (0.80, 0.3, *noisy(0.80, 0)), (0.79, 0.4, *noisy(0.79, 0))]
    best = judged(tmp_path, states)
    soup = Scored(0.79, np.array([loss, *noisy(0.79, 0.05)], dtype=np.float32))
    assert (best.choose("greedy_soup", lambda _: soup, yes)[2] == "average of steps [1, 2]") == taken


def test_a_soup_comes_with_its_own_metrics_where_a_refused_one_has_the_same_score(tmp_path):
    """The threshold of two classes is one of them."""
    states = [(0.5, 0.9, *noisy(0.5, 0)), *((0.80, loss, *noisy(0.80, 0)) for loss in (0.5, 0.4, 0.3))]
    best = judged(tmp_path, states)
    soups = iter([(0.2, 0.31), (0.9, 0.77)])  # loss and threshold: the first is taken, the second refused

    def evaluate(_):
        loss, threshold = next(soups)
        return Scored(0.80, np.array([loss, *noisy(0.80, 0)], dtype=np.float32), {"threshold": threshold})

    _, scored, said = best.choose("greedy_soup", evaluate, yes)
    assert said == "average of steps [2, 3]"
    assert scored.metrics == {"threshold": 0.31}


# states


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)
        self.tied = self.b


def test_a_state_is_a_copy_of_what_may_change():
    net = Net()
    taken = tuned_state(net, frozenset({"a.weight", "a.bias"}))
    assert not any(name.startswith("a.") for name in taken)
    assert {"norm.running_mean", "norm.num_batches_tracked", "norm.weight"} <= set(taken)
    before = taken["norm.running_mean"].clone()
    net.norm.running_mean += 1
    assert torch.equal(taken["norm.running_mean"], before)


def test_tied_weights_are_taken_once_and_come_back(tmp_path):
    net = Net()
    taken = tuned_state(net, frozenset())
    assert sum(name.endswith("b.weight") or name.startswith("tied.weight") for name in taken) == 1
    best = BestStates(tmp_path, 1)
    best.offer(1, Scored(0.0), lambda: taken)
    weight = net.b.weight.detach().clone()
    with torch.no_grad():
        net.b.weight.zero_()
    restore(net, best.load(best.best))
    assert torch.equal(net.b.weight, weight)
    assert net.tied.weight is net.b.weight


def test_views_of_one_storage_are_all_kept():
    """Two parameters that start at one address are told apart by more than the address."""
    net = nn.Module()
    store = torch.arange(6.0)
    net.register_buffer("whole", store)
    net.register_buffer("part", store[:2])
    with torch.no_grad():
        taken = tuned_state(net, frozenset())
    assert set(taken) == {"whole", "part"}
