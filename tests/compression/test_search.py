"""Search: dead weight goes first, no more than the budget asks for, and any budget that can be met is."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from tweenlet.compression.budget import Budget
from tweenlet.compression.channels import Saliency
from tweenlet.compression.densities import Densities, Density, counted_layers, widths_of, with_widths
from tweenlet.compression.inherit import inherit
from tweenlet.compression.pieces import combinations, pieces
from tweenlet.compression.saliency import saliency
from tweenlet.compression.search import cut, describe, search
from tweenlet.compression.widths import Spending, compact
from tweenlet.network.config import RIFE, STMFNET, TINY, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import BatchSampler
from tweenlet.training.losses import build_objective
from tweenlet.training.options import TrainOptions

LEVELS = FlowLevel(4, 24, 3), FlowLevel(2, 16, 2), FlowLevel(1, 16, 2)
SMALL_RIFE = replace(RIFE, intermediate=IntermediateFlowConfig(LEVELS, (8, 2), 4))
OBJECTIVE = build_objective(TrainOptions())
DEAD = [1, 3, 4, 9, 12, 15, 20, 23]


def with_dead_channels() -> STMFNet:
    """A network whose coarsest level never uses eight of its channels."""
    torch.manual_seed(0)
    network = STMFNet(SMALL_RIFE).eval()
    level = network.intermediate.levels[0]
    with torch.no_grad():
        level.down[2].weight[DEAD] = 0
        level.down[2].bias[DEAD] = 0
        level.up[0].weight[DEAD] = 0
        level.down[2].weight[:, DEAD[:4]] = 0
        for block in level.blocks:
            block.conv.weight[DEAD] = 0
            block.conv.bias[DEAD] = 0
            block.conv.weight[:, DEAD] = 0
    return network


def limit(config: ModelConfig) -> Spending:
    return Spending(Budget("params", Budget("params", 1).spent(config)))


def test_channels_that_do_nothing_go_first_and_are_not_missed(samples):
    network = with_dead_channels()
    narrow = with_widths(SMALL_RIFE, {**widths_of(SMALL_RIFE), "level.4": 16})
    batches = [BatchSampler(samples, 2, 64, 0).batch_at(step) for step in range(2)]
    heard: list[str] = []
    rounds = search(network, limit(narrow), lambda n: saliency(n, batches, OBJECTIVE), heard.append)
    smaller = cut(network, rounds)
    assert smaller.config == narrow
    assert heard[0].endswith("level.4 24 -> 16")
    frames = batches[0].frames
    with torch.no_grad():
        torch.testing.assert_close(smaller(frames), network(frames), atol=1e-5, rtol=0)


def test_saliency_leaves_the_network_as_it_was_and_measures_every_unit(samples):
    network = with_dead_channels()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measured = saliency(network, [BatchSampler(samples, 2, 64, 0).batch_at(0)], OBJECTIVE)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(p.grad is not None for p in network.parameters())
    assert {name: len(blocks) for name, blocks in measured.blocks.items()} == {
        "level.4": 3, "level.2": 2, "level.1": 2,
    }  # fmt: skip
    assert set(measured.pieces) == {"the level of scale 2", "the level of scale 1"}
    assert set(measured.streams["level.4"].topk(16).indices.tolist()).isdisjoint(DEAD)
    with pytest.raises(ValueError, match="at least one batch"):
        saliency(network, [], OBJECTIVE)


@pytest.mark.slow
def test_a_family_of_several_branches_is_searched_too(samples):
    torch.manual_seed(0)
    network = STMFNet(TINY).eval()
    batches = [BatchSampler(samples, 1, 64, 0).batch_at(0)]
    spent = Spending(Budget.parse("params", "70%").of(TINY))
    smaller = cut(network, search(network, spent, lambda n: saliency(n, batches, OBJECTIVE)))
    assert spent(smaller.config) <= spent.budget.limit
    assert smaller.config != TINY


def test_the_residual_blocks_that_are_kept_are_the_salient_ones():
    torch.manual_seed(0)
    network = STMFNet(SMALL_RIFE)
    shallow = replace(
        SMALL_RIFE,
        intermediate=replace(SMALL_RIFE.intermediate, levels=(FlowLevel(4, 24, 2), *LEVELS[1:])),
    )
    found = inherit(network, shallow, Saliency(blocks={"level.4": (0.3, -0.1, 0.2)}))
    old, new = (net.intermediate.levels[0].blocks for net in (network, found))
    assert torch.equal(new[0].conv.weight, old[0].conv.weight)
    assert torch.equal(new[1].conv.weight, old[2].conv.weight)
    assert describe(SMALL_RIFE, shallow) == "level.4 3 -> 2 blocks"


def test_what_a_narrow_level_cannot_inherit_is_told():
    network = STMFNet(SMALL_RIFE)
    wider = replace(SMALL_RIFE, intermediate=replace(SMALL_RIFE.intermediate, levels=(FlowLevel(4, 32, 3),)))
    with pytest.raises(ValueError, match="no wider or deeper"):
        inherit(network, wider)
    with pytest.raises(ValueError, match="intermediate-flow branch in both"):
        inherit(network, TINY)


def test_every_set_of_pieces_can_be_built_and_the_coarsest_level_stays():
    assert set(pieces(RIFE)) == {f"the level of scale {scale}" for scale in (8, 4, 2, 1)}
    assert len(combinations(RIFE)) == 16
    assert all(other.intermediate.levels[0].scale == 16 for other in combinations(RIFE).values())
    assert 8 < len(combinations(STMFNET)) < 40


@pytest.mark.slow
def test_a_budget_is_met_whatever_the_last_digits_of_the_densities_say():
    """MINI is a network of this family and has 1.82 M parameters."""
    with torch.device("meta"):
        sizes = {name: layer.weight.numel() for name, layer in counted_layers(STMFNet(STMFNET))}
    budget = Budget.parse("params", "1.83M")
    for seed in range(2):
        jitter = random.Random(seed)
        shares = {name: 0.1 * jitter.uniform(0.95, 1.05) for name in sizes}
        layers = {name: Density(round(shares[name] * total), total) for name, total in sizes.items()}
        found = compact(STMFNET, Densities(layers), budget)
        assert 0.8 * budget.limit < budget.spent(found) <= budget.limit


@pytest.mark.slow
def test_what_is_dropped_is_what_costs_least_by_measured_loss():
    with torch.device("meta"):
        sizes = {name: layer.weight.numel() for name, layer in counted_layers(STMFNet(STMFNET))}
    layers = {name: Density(round(0.1 * total), total) for name, total in sizes.items()}
    losses = dict.fromkeys(pieces(STMFNET), 1.0) | {"the flow branch": 0.01}
    heard: list[str] = []
    found = compact(STMFNET, Densities(layers), Budget.parse("params", "2M"), heard.append, losses)
    assert found.flow is None
    assert heard[0].startswith("the flow branch is dropped to meet the budget: without it pictures move")


def test_a_budget_may_be_a_share_and_must_ask_for_something():
    half = Budget.parse("params", "50%")
    assert str(half) == "at most 50 % of the parameters"
    assert half.of(RIFE).limit == 5_664_776 / 2
    assert Budget.parse("macs", "25%@64x64").of(TINY).limit > 0
    with pytest.raises(ValueError, match=r"met already: the network costs 5,664,776 parameters"):
        Budget.parse("params", "6M").of(RIFE)
    with pytest.raises(ValueError, match="less than 100%"):
        Budget.parse("params", "100%")
