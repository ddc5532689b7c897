from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from tweenlet.compression.budget import Budget, size_of
from tweenlet.compression.densities import (
    Densities,
    Density,
    counted_layers,
    densities,
    parameter_groups,
    widths_of,
)
from tweenlet.compression.inherit import inherit
from tweenlet.compression.widths import compact, compaction
from tweenlet.network.config import MINI, STMFNET, TINY, ModelConfig
from tweenlet.network.cost import cost
from tweenlet.network.stmfnet import STMFNet

IMPLIED = {  # by the widths that the paper chose, ../shared/PAPER.md 1.1
    "features": (0.25, 0.25, 0.14, 0.06), "kernel_hidden": 0.22, "grid": (0.25, 0.25, 0.23),
    "texture": (0.25, 0.14, 0.11, 0.10), "texture_out": 0.06,
}  # fmt: skip


@cache
def sizes(config: ModelConfig) -> dict[str, int]:
    with torch.device("meta"):
        return {name: layer.weight.numel() for name, layer in counted_layers(STMFNet(config))}


def uniform(config: ModelConfig, share: float = 1.0) -> Densities:
    return Densities({name: Density(round(share * n), n) for name, n in sizes(config).items()})


@cache
def owners(config: ModelConfig) -> dict[str, list[str]]:
    """The widths that each layer counts for: those whose density moves when the layer empties."""
    full = uniform(config)
    before = full.widths(config)
    owner_of = {}
    for name, density in full.layers.items():
        after = Densities({**full.layers, name: Density(0, density.total)}).widths(config)
        owner_of[name] = [width for width in before if before[width] != after[width]]
    return owner_of


def with_widths(config: ModelConfig, shares: dict[str, float], rest: float) -> Densities:
    """Densities in which every layer has the density of the width that it counts for."""
    layers = {}
    for name, total in sizes(config).items():
        share = next((shares[width] for width in owners(config)[name]), rest)
        layers[name] = Density(round(share * total), total)
    return Densities(layers)


def test_the_densities_that_the_paper_implies_give_mini():
    shares = {}
    for field, share in IMPLIED.items():
        values = share if isinstance(share, tuple) else (share,)
        names = [name for name in widths_of(STMFNET) if name.split(".")[0] == field]
        shares |= dict(zip(names, values, strict=True))
    shares |= {name: 0.01 for name in widths_of(STMFNET) if name.startswith("flow.")}
    heard: list[str] = []
    assert compact(STMFNET, with_widths(STMFNET, shares, rest=0.01), notify=heard.append) == MINI
    assert heard == ["the flow branch is dropped: its density is 0.010, under 0.05"]


@pytest.mark.parametrize("config", [STMFNET, MINI, TINY])
def test_nothing_is_lost_of_what_is_dense(config):
    assert compact(config, uniform(config)) == config


@pytest.mark.slow
@pytest.mark.parametrize("config", [STMFNET, MINI], ids=["stmfnet", "mini"])
def test_every_width_has_layers_and_puts_out_so_many_channels(config):
    """Widening a width by some channels must widen just the layers that its density is read from."""
    full = uniform(config)
    with torch.device("meta"):
        narrow = {n: layer.weight.shape for n, layer in counted_layers(STMFNet(config))}
    for width, value in widths_of(config).items():
        field, _, place = width.partition(".")
        wider = value * 2
        if place:
            values = list(getattr(config, field))
            index = config.scales.index(float(place)) if field == "grid" else int(place)
            values[index] = wider
            wide = replace(config, **{field: tuple(values)})
        else:
            wide = replace(config, **{field: wider})
        with torch.device("meta"):
            network = STMFNet(wide)
        grown = set()
        for name, layer in counted_layers(network):
            axis = 1 if getattr(layer, "transposed", False) and layer.groups == 1 else 0
            if layer.weight.shape[axis] != narrow[name][axis]:
                grown.add(name)
        counted_there = {n for n in full.layers if width in owners(config)[n]}
        gates = {n for n in counted_there if "gate" in n}
        inner = {n for n in grown if "reduce" in n or "grouped" in n}
        assert counted_there - gates - inner == grown - gates - inner, width


def test_what_cannot_be_built_is_respected():
    config = compact(STMFNET, uniform(STMFNET, 0.06))
    assert config.features == (32, 32, 64, 128)
    assert min(config.texture or (0,)) >= 4
    STMFNet(config)


def test_shortcuts_stay_convolutions():
    teacher = replace(MINI, scales=(1.0, 0.5), grid=(16, 32), texture=(8, 16, 24, 32))
    layers = {
        n: Density(round((0.0625 if n.startswith("texture.stages.3") else 0.14) * d.total), d.total)
        for n, d in uniform(teacher).layers.items()
    }
    found = compact(teacher, Densities(layers))
    assert (found.grid, found.texture) == ((5, 12), (4, 6, 9, 8))
    inherit(STMFNet(teacher), found)


def test_branches_and_scales_that_are_not_used_are_dropped():
    gone = ("texture", "fusion.lateral.0_", "fusion.up.0_", "fusion.down.0_", "multi_flow.heads.fine")
    empty = {
        n: Density(0 if n.startswith(gone) else d.total, d.total) for n, d in uniform(STMFNET).layers.items()
    }
    found = compact(STMFNET, Densities(empty))
    assert found == replace(STMFNET, texture=None, scales=(1.0, 0.5), grid=(64, 96))


@pytest.mark.slow
@pytest.mark.parametrize("text", ["1.8M", "400k"])
def test_a_budget_of_parameters_is_used_up(text):
    budget = Budget.parse("params", text)
    found = compact(STMFNET, uniform(STMFNET, 0.2), budget)
    spent = cost(found, 64, 64).parameters
    assert 0.8 * budget.limit < spent <= budget.limit


@pytest.mark.long
def test_a_budget_of_multiply_adds_is_used_up_and_sees_what_parameters_do_not():
    budget = Budget.parse("macs", "25G@256x256")
    assert (budget.limit, budget.width, budget.height) == (25e9, 256, 256)
    found = compact(MINI, uniform(MINI, 0.9), budget)
    assert 22e9 < cost(found, 256, 256).multiply_adds <= 25e9
    assert found.scales == MINI.scales
    # the heads' last convolutions at double size cost the same however narrow the rest is
    assert compact(MINI, uniform(MINI, 0.9), Budget.parse("macs", "15G@256x256")).scales == (1.0, 0.5)
    assert compact(MINI, uniform(MINI, 0.9), Budget.parse("params", "0.6M")).scales == MINI.scales


@pytest.mark.slow
def test_a_tight_budget_drops_the_least_dense_piece_before_the_rest_starves():
    layers = {
        n: Density(round((0.1 if n.startswith("flow") else 0.5) * d.total), d.total)
        for n, d in uniform(STMFNET).layers.items()
    }
    heard: list[str] = []
    config = compact(STMFNET, Densities(layers), Budget.parse("params", "2M"), heard.append)
    assert config.flow is None
    assert heard[0].startswith("the flow branch is dropped to meet the budget: density 0.1")
    assert config.texture is not None


def test_a_budget_that_cannot_be_met_says_the_least_that_can():
    with pytest.raises(
        ValueError, match=r"costs at most 1,000 parameters: the smallest .* costs [\d,]+ parameters"
    ):
        compact(TINY, uniform(TINY), Budget.parse("params", "1k"))


class Table:
    """A latency table of a machine where each channel takes a millisecond."""

    def estimate(self, config):
        return sum(widths_of(config).values())


def test_a_budget_of_milliseconds_goes_by_its_table():
    everything = sum(widths_of(TINY).values())
    budget = replace(Budget.parse("ms", f"{everything - 9}@96x64"), table=Table())
    found = compact(TINY, uniform(TINY), budget)
    assert everything - 18 < sum(widths_of(found).values()) <= everything - 9


@pytest.mark.parametrize(
    ("kind", "text"), [("params", "2X"), ("ms", "-3"), ("macs", "50G@small"), ("watts", "3")]
)
def test_budgets_that_are_not_understood(kind, text):
    with pytest.raises(ValueError, match="such as"):
        Budget.parse(kind, text)
    assert size_of("1080p") == (1920, 1080)


def test_densities_count_what_learns_and_reaches_the_output():
    model = STMFNet(TINY)
    shares = densities(model)
    assert shares.of().share == 1
    assert not [n for n in shares.layers if n.startswith(("fusion.lateral.0_2", "fusion.up.0_0"))]
    with torch.no_grad():
        model.texture.out.weight[0] = 0
    shares = densities(model)
    assert shares.layers["texture.out"].share == pytest.approx(2 / 3)
    assert shares.parts["fusion"].share == 1 > shares.parts["texture"].share
    assert shares.of({"texture.out"}).nonzero == shares.layers["texture.out"].nonzero
    assert Densities.from_json(json.loads(json.dumps(shares.to_json()))) == shares
    assert f"| texture.out | {shares.layers['texture.out'].total:,} |" in re.sub(" +", " ", shares.markdown())
    with pytest.raises(ValueError, match="got none"):
        shares.of({"nothing"})


def test_the_groups_hold_every_parameter_that_learns_once():
    model = STMFNet(replace(TINY, flow=(4, 6)))
    groups = parameter_groups(model)
    *layers, rest = groups
    assert all(p.dim() > 1 for group in layers for p in group["params"])
    assert layers[0]["scale"] == pytest.approx(layers[0]["params"][0].square().mean().sqrt().item())
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert id(model.flow.metric_scale) in [id(p) for p in rest["params"]]


@pytest.mark.slow
def test_the_table_of_a_compaction():
    table = compaction(STMFNET, MINI, uniform(STMFNET, 0.25), (256, 256))
    text = re.sub(" +", " ", table.markdown())
    assert (
        "| features | 64 128 256 512 -> 32 64 96 128 | 0.250 0.250 0.250 0.250 | 3,965,816 -> 393,192 |"
        in text
    )
    assert "| flow | 16 32 64 96 128 196 -> - |" in text
    assert "9,374,275 -> 0 |" in text
    assert "21,028,799 -> 1,822,162 | 176.40 -> 43.41 |" in text
    assert json.loads(json.dumps(table.to_json()))["after"]["features"] == [32, 64, 96, 128]
    timed = compaction(TINY, TINY, uniform(TINY), (16, 16), timed=True)
    assert all(row.milliseconds is not None for row in timed.rows)
    assert timed.markdown().splitlines()[0].endswith(" ms |")
