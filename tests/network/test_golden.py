"""The networks against the official code: outputs, every stored intermediate, one training step."""

from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional as F

from tweenlet.ops.pyramid import laplacian_pyramid
from tweenlet.weights import official_name

TOLERANCE = {"atol": 5e-5, "rtol": 0}
KINDS = {"weight": "weight", "alpha": "rows", "beta": "columns"}
SCALES = {"": (1.0, "full"), "_ds": (0.5, "coarse"), "_us": (2.0, "fine")}


def run(model, frames):
    """The output, cropped to the frame, and the intermediates by their golden names; padded as officially."""
    seen = {}

    def note(name):
        return lambda module, inputs, output: seen.__setitem__(name, output)

    parts = {"feats": model.features, "output_tilde": model.fusion, "dyntex": model.texture}
    for number, frame in ((1, "before"), (2, "after")):
        for suffix, (_, scale) in SCALES.items():
            for golden, ours in KINDS.items():
                head = model.kernels.heads[f"{scale}_{frame}"]
                parts[f"{golden}{number}{suffix}"] = getattr(head, ours)
    hooks = [module.register_forward_hook(note(name)) for name, module in parts.items()]
    hooks.append(model.kernels.register_forward_hook(note("candidates")))
    if model.flow is not None:
        hooks.append(model.flow.register_forward_hook(note("splatted")))
    height, width = frames.shape[-2:]
    padding = (0, -width % 128, 0, -height % 128)
    with torch.no_grad():
        out = model(F.pad(frames.flatten(0, 1), padding, mode="reflect").unflatten(0, frames.shape[:2]))
    for hook in hooks:
        hook.remove()
    for name in list(seen):
        if name.startswith("weight"):
            seen[name] = seen[name].softmax(1)
    for suffix, (scale, _) in SCALES.items():
        seen[f"adacof1{suffix}"], seen[f"adacof2{suffix}"] = seen["candidates"][scale].split(3, 1)[:2]
    if model.flow is not None:
        seen["softsplat0"], seen["softsplat2"] = seen["splatted"].chunk(2, 1)
    return out[..., :height, :width], seen


def as_stored(tensor, name, cropped):
    """Cut a full tensor as the golden name says: __cN channels, __sN stride, __rA_B_cC_D crop."""
    if found := re.search(r"__c(\d+)$", name):
        tensor = tensor[:, :: int(found[1])]
        return tensor[..., 32:64, 32:64] if cropped else tensor
    if found := re.search(r"__s(\d+)$", name):
        return tensor[..., :: int(found[1]), :: int(found[1])]
    if found := re.search(r"__r(\d+)_(\d+)_c(\d+)_(\d+)$", name):
        top, bottom, left, right = map(int, found.groups())
        return tensor[..., top:bottom, left:right]
    return tensor


@pytest.mark.parametrize("net", ["mini", "teacher"])
def test_outputs_and_intermediates(net, golden_weights, film, official_output, request):
    model, frames = golden_weights(net), film(range(4), 128, 160)
    out, seen = run(model, frames)
    torch.testing.assert_close(out[..., ::4, ::4], official_output[net], **TOLERANCE)
    golden = request.getfixturevalue("fixture_file")(f"{net}_base_128x160.npz")
    torch.testing.assert_close(out, golden.pop("output"), **TOLERANCE)
    compare(seen, golden, cropped=False)
    if net == "teacher":
        check_flow(model.flow, frames, golden)


def test_outputs_and_intermediates_at_another_size(golden_weights, film, fixture_file):
    golden = fixture_file("mini_base_200x264.npz")
    out, seen = run(golden_weights("mini"), film(range(4), 200, 264))
    torch.testing.assert_close(out, golden.pop("output"), **TOLERANCE)
    compare(seen, golden, cropped=True)


def compare(seen, golden, cropped):
    compared = 0
    for name, value in golden.items():
        plain = name.split("__")[0]
        if plain in seen:
            torch.testing.assert_close(as_stored(seen[plain], name, cropped), value, **TOLERANCE)
            compared += 1
    assert compared >= 15


def check_flow(flow, frames, golden):
    before, after = F.pad(frames[0, 1:3], (0, 96, 0, 0), mode="reflect").split(1)
    with torch.no_grad():
        levels = [flow._levels(frame) for frame in (before, after)]
        for name, pair in (("flow_0_2", levels), ("flow_2_0", levels[::-1])):
            torch.testing.assert_close(flow._flow(*pair), golden[name], **TOLERANCE)


@pytest.mark.parametrize("net", ["mini", "teacher"])
def test_training_step(net, golden_weights, film, training_step):
    golden, model = training_step(net), golden_weights(net).train()
    out = model(film(range(4), 128, 128))
    truth, target = film([1.5], 128, 128)[0], (0.9 * film([1.6], 128, 128)[0]).clip(0, 1)
    to_truth, to_target = laplacian_loss(out, truth), laplacian_loss(out, target)
    assert to_truth.item() == pytest.approx(golden["loss_gt"], rel=1e-6)
    assert to_target.item() == pytest.approx(golden["loss_target"], rel=1e-6)
    (0.1 * to_truth + to_target).backward()

    norms = {official_name(name): p.grad for name, p in model.named_parameters()}
    wanted = golden["grad_l2"]
    assert {name for name, grad in norms.items() if grad is None} == {
        name for name, norm in wanted.items() if norm is None
    }
    # slopes, and biases before a batch norm, sum large terms that cancel: float64 differs by 1 % too
    errors = [abs(norms[name].norm().item() - norm) / (norm + 0.01) for name, norm in wanted.items() if norm]
    assert max(errors) < 0.05
    assert sorted(errors)[len(errors) * 9 // 10] < 2e-3
    buffers = {official_name(name): buffer for name, buffer in model.named_buffers() if ".mean" not in name}
    for name, norm in golden["bn_buffer_l2_after_step"].items():
        assert buffers[name].norm().item() == pytest.approx(norm, rel=1e-5)


def laplacian_loss(one, other):
    bands = zip(laplacian_pyramid(one), laplacian_pyramid(other), strict=True)
    return sum(2**level * (a - b).abs().sum() for level, (a, b) in enumerate(bands))
