import dataclasses
import math

import pytest

from xpnet.errors import InputError
from xpnet.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    InverseTime,
    PlateauState,
    ReduceOnPlateau,
    Step,
    Warmup,
)

ACCURACIES = [0.3, 0.5, 0.5, 0.4, 0.45, 0.6, 0.1, 0.2, 0.3, 0.4, 0.5, 0.59, 0.7, 0.7]


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (Constant(), {0: 1, 1: 1, 10**6: 1}),
        (Step(10), {0: 1, 9: 1, 10: 0.1, 19: 0.1, 20: 0.01}),
        (Step(3, gamma=0.5), {2: 1, 3: 0.5, 8: 0.25, 9: 0.125}),
        (Exponential(10), {0: 1, 5: math.sqrt(0.1), 10: 0.1, 20: 0.01}),
        (Exponential(1, gamma=2.0), {0: 1, 3: 8}),
        (Step(1, gamma=1e300), {0: 1, 1: 1e300, 2: math.inf, 10**6: math.inf}),
        (Exponential(2, gamma=1e300), {0: 1, 1: 1e150, 2: 1e300, 3: math.inf, 10**6: math.inf}),
        (InverseTime(4), {0: 1, 2: 2 / 3, 4: 1 / 2, 8: 1 / 3, 36: 1 / 10}),
        (Cosine(8), {0: 1, 2: (1 + math.sqrt(0.5)) / 2, 4: 0.5, 8: 0, 9: 0, 16: 0}),
        (Cosine(6, minimum=0.1), {0: 1, 2: 0.775, 3: 0.55, 6: 0.1, 100: 0.1}),
        (Cosine(6, minimum=1.0), {0: 1, 3: 1, 6: 1}),
        (Warmup(4, Constant()), {0: 0.2, 1: 0.4, 3: 0.8, 4: 1, 5: 1}),
        (Warmup(1, Step(2, gamma=0.5)), {0: 0.5, 1: 1, 2: 1, 3: 0.5, 5: 0.25}),
        (Warmup(2, Warmup(1, Constant())), {0: 1 / 3, 1: 2 / 3, 2: 1 / 2, 3: 1}),
    ],
)
def test_factors_computed_by_hand(schedule, points):
    assert {step: schedule.factor(step) for step in points} == pytest.approx(points, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (Constant(), lambda torch, o: torch.ConstantLR(o, factor=1.0)),
        (Step(7, gamma=0.3), lambda torch, o: torch.StepLR(o, step_size=7, gamma=0.3)),
        (Exponential(1, gamma=0.9), lambda torch, o: torch.ExponentialLR(o, gamma=0.9)),
        (Exponential(5, gamma=0.4), lambda torch, o: torch.ExponentialLR(o, gamma=0.4 ** (1 / 5))),
        (InverseTime(6), lambda torch, o: torch.LambdaLR(o, lambda t: 6 / (6 + t))),
        (Cosine(29), lambda torch, o: torch.CosineAnnealingLR(o, T_max=29)),
        (Cosine(29, minimum=0.25), lambda torch, o: torch.CosineAnnealingLR(o, T_max=29, eta_min=0.25 * 0.2)),
        (Warmup(9, Constant()), lambda torch, o: torch.LinearLR(o, start_factor=1 / 10, total_iters=9)),
    ],
)
def test_factors_equal_pytorchs(schedule, theirs):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.2)
    scheduler = theirs(torch.optim.lr_scheduler, optimizer)
    for step in range(30):
        assert 0.2 * schedule.factor(step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12, abs=1e-16)
        optimizer.step()
        scheduler.step()


def plateau_factors(plateau, accuracies):
    state, factors = PlateauState(), []
    for accuracy in accuracies:
        state = plateau.update(state, accuracy)
        factors.append(state.factor)
    return factors


def test_plateau_by_hand():
    # 0.5 is reached, then not exceeded twice; 0.6 likewise, thrice over; then 0.7.
    expected = [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.0625]
    assert plateau_factors(ReduceOnPlateau(patience=2, gamma=0.5), ACCURACIES) == expected
    assert plateau_factors(ReduceOnPlateau(patience=1, gamma=0.5), [0.1, 0.1, 0.2, 0.0]) == [1, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
def test_plateau_equals_pytorchs_with_one_less_patience(patience):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=patience - 1, threshold=0.0
    )
    theirs = []
    for accuracy in ACCURACIES:
        scheduler.step(accuracy)
        theirs.append(optimizer.param_groups[0]["lr"])
    assert plateau_factors(ReduceOnPlateau(patience, gamma=0.5), ACCURACIES) == theirs


def test_plateau_state_is_not_changed_but_replaced():
    state = PlateauState()
    ReduceOnPlateau().update(state, 0.5)
    assert state == PlateauState(best=-math.inf, reports=0, factor=1.0)


def test_schedules_are_settings_only():
    for schedule in (Step(3), Warmup(2, Cosine(5)), ReduceOnPlateau()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            schedule.every = 1
        assert schedule == dataclasses.replace(schedule)
    assert list(SCHEDULES) == ["constant", "step", "exponential", "inverse-time", "cosine", "plateau"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Step(0), "Step: expected every .* of at least 1, got 0"),
        (lambda: Step(1.5), "Step: expected every"),
        (lambda: Step(1, gamma=0.0), "Step: expected a finite gamma above 0, got 0.0"),
        (lambda: Step(1, gamma=math.nan), "Step: expected a finite gamma"),
        (lambda: Exponential(0), "Exponential: expected every"),
        (lambda: Exponential(1, gamma=-0.5), "Exponential: expected a finite gamma above 0, got -0.5"),
        (lambda: InverseTime(-1), "InverseTime: expected every"),
        (lambda: Cosine(0), "Cosine: expected steps"),
        (lambda: Cosine(1, minimum=-0.1), "Cosine: expected a minimum from 0 to 1, .*, got -0.1"),
        (lambda: Cosine(1, minimum=1.1), "Cosine: expected a minimum from 0 to 1"),
        (lambda: Cosine(1, minimum=math.nan), "Cosine: expected a minimum from 0 to 1"),
        (lambda: Warmup(0, Constant()), "Warmup: expected steps"),
        (lambda: ReduceOnPlateau(patience=0), "ReduceOnPlateau: expected patience"),
        (lambda: ReduceOnPlateau(gamma=1.0), "ReduceOnPlateau: expected a gamma between 0 and 1, got 1.0"),
        (lambda: ReduceOnPlateau(gamma=0.0), "ReduceOnPlateau: expected a gamma between 0 and 1, got 0.0"),
        (lambda: ReduceOnPlateau(gamma=math.nan), "ReduceOnPlateau: expected a gamma"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
