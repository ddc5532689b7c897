"""The networks against the official code: outputs, every stored intermediate, one training step."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import numpy as np
import pytest
import torch

from tweenlet.interpolation.tiling import padded
from tweenlet.network.official import official_name
from tweenlet.ops import splat as ops
from tweenlet.ops.resample import laplacian_pyramid

TOLERANCE = {"atol": 5e-5, "rtol": 0}
KINDS = {"weight": "weight", "alpha": "rows", "beta": "columns"}
SCALES = {"": (1.0, "full"), "_ds": (0.5, "coarse"), "_us": (2.0, "fine")}


@pytest.mark.slow
@pytest.mark.parametrize("size", [(128, 160), pytest.param((200, 264), marks=pytest.mark.long)], ids=str)
@pytest.mark.parametrize("net", ["mini", "teacher"])
def test_outputs_and_all_intermediates(
    net, size, golden_weights, film, official_output, golden_file, monkeypatch
):
    model, (frames,) = golden_weights(net), film(range(4), *size)
    seen, layers = {}, defaultdict(list)
    watch(model, seen, layers, monkeypatch)
    with torch.inference_mode():
        out = model(padded(frames, 128)[None])[..., : size[0], : size[1]]
    if size == (128, 160):
        torch.testing.assert_close(out[..., ::4, ::4], official_output[net], **TOLERANCE)
    with np.load(golden_file(f"{net}_base_{size[0]}x{size[1]}.npz")) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    torch.testing.assert_close(out, golden.pop("output"), **TOLERANCE)
    for name, value in golden.items():
        part = as_stored(seen[name.split("__")[0]], name, cropped=size == (200, 264))
        torch.testing.assert_close(part, value, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")
    if size == (128, 160):
        trace = json.loads(golden_file(f"trace_{net}_base_128x160.json").read_text())
        compare_layers(layers, trace, {official_name(name) for name in model.state_dict()})


def watch(model, seen, layers, monkeypatch):
    """Note the intermediates by their golden names, and of every layer with weights all that it gives."""

    def note(name, how=lambda output: output):
        return lambda module, inputs, output: seen.__setitem__(name, how(output))

    def note_layer(name):
        return lambda module, inputs, output: layers[name].append(output)

    def note_candidates(module, inputs, output):
        for suffix, (scale, _) in SCALES.items():
            seen[f"adacof1{suffix}"], seen[f"adacof2{suffix}"] = output[scale].chunk(2, 1)

    for name, module in {
        "feats": model.features,
        "output_tilde": model.fusion,
        "dyntex": model.texture,
    }.items():
        module.register_forward_hook(note(name))
    for number, frame in ((1, "before"), (2, "after")):
        for suffix, (_, scale) in SCALES.items():
            for golden, ours in KINDS.items():
                head = getattr(model.multi_flow.heads[f"{scale}_{frame}"], ours)
                how = {"how": lambda stack: stack.softmax(1)} if ours == "weight" else {}
                head.register_forward_hook(note(f"{golden}{number}{suffix}", **how))
    model.multi_flow.register_forward_hook(note_candidates)
    for name, module in model.named_modules():
        if isinstance(getattr(module, "weight", None), torch.Tensor):
            layer = official_name(f"{name}.weight").removesuffix(".weight")
            module.register_forward_hook(note_layer(layer))

    turns = iter((("0_2", "0"), ("2_0", "2")))

    def splat(frame, flow, metric):
        pair, number = next(turns)
        seen[f"flow_{pair}"], seen[f"metric_{pair}"] = 2 * flow, metric
        seen[f"softsplat{number}"] = ops.splat(frame, flow, metric)
        return seen[f"softsplat{number}"]

    monkeypatch.setattr("tweenlet.network.flow.splat", splat)


def as_stored(tensor, name, cropped):
    """Cut a full tensor as the golden name says: __cN channels, __sN stride, __rA_B_cC_D crop."""
    if match := re.search(r"__c(\d+)$", name):
        tensor = tensor[:, :: int(match[1])]
        return tensor[..., 32:64, 32:64] if cropped else tensor
    if match := re.search(r"__s(\d+)$", name):
        return tensor[..., :: int(match[1]), :: int(match[1])]
    if match := re.search(r"__r(\d+)_(\d+)_c(\d+)_(\d+)$", name):
        top, bottom, left, right = map(int, match.groups())
        return tensor[..., top:bottom, left:right]
    return tensor


def compare_layers(layers, trace, names):
    """Every layer of the official trace that has weights, but for the blocks that never reach the output."""
    official = defaultdict(list)
    for name, shape, *statistics in trace:
        official[name].append((shape, statistics))
    weighted = {name for name in official if f"{name}.weight" in names}
    unused = {name.split(".")[1] for name in weighted - layers.keys()}
    assert unused == {"lateral_0_2", "lateral_0_3", "up_0_0", "up_0_1"}
    for name in weighted & layers.keys():
        assert len(layers[name]) == len(official[name]), name
        for output, (shape, statistics) in zip(layers[name], official[name], strict=True):
            assert list(output.shape) == shape, name
            found = [output.mean(), output.std(), output.abs().max()]
            assert found == pytest.approx(statistics, abs=5e-5, rel=1e-4), name


@pytest.mark.long
@pytest.mark.parametrize("net", ["mini", "teacher"])
def test_training_step(net, golden_weights, film, training_step, official_output):
    golden, model = training_step(net), golden_weights(net).train()
    out = model(film(range(4), 128, 128))
    torch.testing.assert_close(out[..., ::4, ::4], official_output[f"{net}_in_training"], **TOLERANCE)
    truth, target = film([1.5], 128, 128)[0], (0.9 * film([1.6], 128, 128)[0]).clip(0, 1)
    to_truth, to_target = laplacian_loss(out, truth), laplacian_loss(out, target)
    assert to_truth.item() == pytest.approx(golden["loss_gt"], rel=1e-6)
    assert to_target.item() == pytest.approx(golden["loss_target"], rel=1e-6)
    (0.1 * to_truth + to_target).backward()

    gradients = {official_name(name): p.grad for name, p in model.named_parameters()}
    expected = golden["grad_l2"]
    assert {name for name, grad in gradients.items() if grad is None} == {
        name for name, norm in expected.items() if norm is None
    }
    # slopes, and biases before a batch norm, sum large terms that cancel: float64 differs by 1 % too
    errors = [
        abs(gradients[name].norm().item() - norm) / (norm + 0.01) for name, norm in expected.items() if norm
    ]
    assert max(errors) < 0.05
    assert sorted(errors)[len(errors) * 9 // 10] < 2e-3
    buffers = {official_name(name): buffer for name, buffer in model.named_buffers() if ".mean" not in name}
    for name, norm in golden["bn_buffer_l2_after_step"].items():
        assert buffers[name].norm().item() == pytest.approx(norm, rel=1e-5)


def laplacian_loss(one, other):
    bands = zip(laplacian_pyramid(one), laplacian_pyramid(other), strict=True)
    return sum(2**level * (a - b).abs().sum() for level, (a, b) in enumerate(bands))
