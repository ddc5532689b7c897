from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

from tweenlet.compression.obprox import OBProxSG, scheduled_density


@pytest.mark.parametrize("name", ["A", "B", "C_paper_code"])
def test_every_step_is_the_published_one(golden_file, name):
    with np.load(golden_file("op_obproxsg.npz")) as file:
        stored = {key.removeprefix(f"{name}_"): file[key] for key in file.files if key.startswith(f"{name}_")}
    lr, lambda_, eps, epoch, np_epochs = stored["hyper"]
    x = torch.nn.Parameter(torch.from_numpy(stored["p0"].copy()))
    optimiser = OBProxSG([x], lr, lambda_, eps, prox_steps=round(epoch * np_epochs))
    assert len(stored["grads"]) == 10  # five of each kind
    for gradient, expected in zip(stored["grads"], stored["params"], strict=True):
        x.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
        np.testing.assert_allclose(x.detach().numpy(), expected, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(x.detach().numpy() == 0, expected == 0)


def quadratic(seed=0, count=400):
    """A few weights that matter, among many that hardly do."""
    torch.manual_seed(seed)
    x = torch.nn.Parameter(torch.randn(count))
    best = torch.where(torch.arange(count) < count // 10, 1.0, 0.01) * torch.randn(count)
    return x, lambda: (x - best).square().sum() / 2 + (torch.randn(count) * x).sum() * 0.01


def run(optimiser, loss, steps):
    for _ in range(steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()


def test_a_density_is_reached_and_what_matters_stays():
    x, loss = quadratic()
    optimiser = OBProxSG([x], lr=0.1, prox_steps=150, density=0.12, density_steps=200)
    for step in range(250):
        run(optimiser, loss, 1)
        assert optimiser.density() == pytest.approx(scheduled_density(step + 1, 0.12, 200), abs=0.02)
    assert optimiser.density() == 0.12
    assert (x[:40] != 0).float().mean() > 0.7
    assert (x[40:] != 0).float().mean() < 0.1


def test_a_state_of_earlier_names_goes_on():
    x, _ = quadratic()
    optimiser = OBProxSG([x], lr=0.1, density=0.5, density_steps=20)
    state = optimiser.state_dict()
    group = state["param_groups"][0]
    for old, name in (("target", "density"), ("over", "density_steps"), ("taken", "steps_taken")):
        group[old] = group.pop(name)
    group["taken"] = 7
    optimiser.load_state_dict(state)
    assert optimiser.param_groups[0]["steps_taken"] == 7
    assert "taken" not in optimiser.param_groups[0]
    with pytest.raises(ValueError, match=r"a density of 0\.5 over 20 steps, got 0\.4 over 20"):
        OBProxSG([x], lr=0.1, density=0.4, density_steps=20).load_state_dict(state)


def test_a_run_goes_on_from_its_state_in_the_same_phase():
    x, loss = quadratic()
    whole = OBProxSG([x], lr=0.1, prox_steps=3, orthant_steps=2, density=0.5, density_steps=20)
    run(whole, loss, 4)  # in the orthant phase now
    state, weights, noise = copy.deepcopy(whole.state_dict()), x.detach().clone(), torch.get_rng_state()
    run(whole, loss, 4)
    end = x.detach().clone()
    with torch.no_grad():
        x.copy_(weights)
    again = OBProxSG([x])
    again.load_state_dict(state)
    torch.set_rng_state(noise)
    run(again, loss, 4)
    assert torch.equal(x, end)
    assert again.param_groups == whole.param_groups


def test_groups_have_their_own_settings():
    a, b, c = (torch.nn.Parameter(torch.full((4,), 0.3)) for _ in range(3))
    optimiser = OBProxSG(
        [{"params": [a]}, {"params": [b], "lambda_": 0.0}, {"params": [c], "prox_steps": 0}],
        lr=1.0, lambda_=0.25, eps=0.1, prox_steps=5,
    )  # fmt: skip
    for x in (a, b, c):
        x.grad = torch.zeros(4)
    optimiser.step()
    torch.testing.assert_close(a, torch.full((4,), 0.05), check_dtype=False)  # a proximal step knows no eps
    torch.testing.assert_close(b, torch.full((4,), 0.3))
    assert not c.any()  # an orthant step does
    assert optimiser.density() == 0.5  # of a and c alone


def test_a_density_is_shared_in_proportion_to_the_scales():
    torch.manual_seed(0)
    large, small = (torch.nn.Parameter(size * torch.randn(500)) for size in (1.0, 0.01))
    groups = [{"params": [large], "scale": 1.0}, {"params": [small], "scale": 0.01}]
    optimiser = OBProxSG(groups, lr=0.1, prox_steps=5, density=0.4, density_steps=8)
    for _ in range(10):
        large.grad, small.grad = torch.zeros(500), torch.zeros(500)
        optimiser.step()
    assert optimiser.density() == 0.4
    assert (small != 0).float().mean() == pytest.approx(0.4, abs=0.05)


def test_settings_without_meaning():
    x = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match="0 or more, got -1"):
        OBProxSG([x], lr=-1)
    with pytest.raises(ValueError, match="at least one together, got 0 and 0"):
        OBProxSG([x], prox_steps=0, orthant_steps=0)
    with pytest.raises(ValueError, match=r"density in \(0, 1\].*got 1.5"):
        OBProxSG([x], density=1.5)


def test_the_loss_of_a_closure_comes_back():
    x, loss = quadratic()
    optimiser = OBProxSG([x], orthant_steps=math.inf)

    def closure():
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    assert optimiser.step(closure) > 0
