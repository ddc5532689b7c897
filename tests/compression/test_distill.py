from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from tests.network.test_stmfnet import FOUR_FRAMES
from tweenlet.compression.distill import (
    MASK_WEIGHT,
    AttentionLoss,
    Distillation,
    FlowLoss,
    distill,
    mask_by_confidence,
    network_teacher,
    onnx_teacher,
    stored_teacher,
)
from tweenlet.network.config import TINY, FlowLevel, IntermediateFlowConfig, ModelConfig
from tweenlet.network.stmfnet import STMFNet
from tweenlet.training.data.batches import Batch, BatchSampler, collate, predict, sequential
from tweenlet.training.data.teacher_outputs import predict_all, store_frames
from tweenlet.training.losses import laplacian
from tweenlet.training.options import TrainOptions

OPTIONS = TrainOptions(steps=3, learning_rate=1e-3, warmup=1, log_every=1, save_every=1)


def always(picture: torch.Tensor):
    return lambda batch: picture.expand_as(batch.truth)


def some_batch(size: int = 2, side: int = 32) -> Batch:
    torch.manual_seed(1)
    return Batch(torch.rand(size, 4, 3, side, side), torch.rand(size, 3, side, side))


def test_the_loss_is_the_published_one(golden_file):
    stored = np.load(golden_file("op_laplacian_loss.npz"))
    student, truth, teacher = (
        torch.from_numpy(stored[name]).double() for name in ("student", "gt", "teacher")
    )
    batch = Batch(truth[:, None].expand(-1, 4, -1, -1, -1), truth)
    loss, terms = Distillation(OPTIONS, [always(teacher)])(student, batch)
    assert loss.item() * truth.numel() == pytest.approx(float(stored["distill_alpha0p1"]), rel=1e-6)
    assert loss == pytest.approx(0.1 * terms["truth"].item() + terms["teacher"].item())


def test_several_teachers_are_weighed():
    batch, prediction = some_batch(), torch.rand(2, 3, 32, 32)
    one, two = torch.rand(3, 32, 32), torch.rand(3, 32, 32)
    loss, _ = Distillation(OPTIONS, [always(one), always(two)], alpha=0.0, weights=[3, 1])(prediction, batch)
    wanted = 0.75 * laplacian(prediction, one.expand_as(prediction))
    wanted = wanted + 0.25 * laplacian(prediction, two.expand_as(prediction))
    assert loss == pytest.approx(wanted.item())


def test_a_teacher_is_believed_where_it_beats_blending():
    batch = some_batch()
    blend = batch.frames[:, 1:3].mean(1)
    good = batch.truth + 0.01
    assert torch.equal(mask_by_confidence(good, batch), good)
    half = torch.cat((good[..., :16], blend[..., 16:] + 0.5), -1)
    found = mask_by_confidence(half, batch)
    assert torch.equal(found[..., :14], half[..., :14])
    assert torch.equal(found[..., 18:], batch.truth[..., 18:])
    objective = Distillation(OPTIONS, [always(blend[0] + 0.5)], alpha=0.0, filter_teacher=True)
    assert objective(batch.truth, batch)[0] == 0


@pytest.mark.slow
def test_a_teacher_stays_as_it_is_and_the_student_comes_nearer(samples, tmp_path):
    torch.manual_seed(0)
    teacher, student = STMFNet(TINY), STMFNet(TINY)
    before = copy.deepcopy(teacher.state_dict())
    batch = next(sequential(samples, 4))

    def distance(model):
        with torch.no_grad():
            return laplacian(model.eval()(batch.frames), teacher.eval()(batch.frames)).item()

    far = distance(student)
    options = replace(OPTIONS, steps=12, ema_decay=0.0, freeze_bn_after=1.0)
    teachers = [network_teacher(teacher.train())]
    distill(student, teachers, BatchSampler(samples, 4, 32), None, options, tmp_path, alpha=0.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())
    assert distance(student) < 0.9 * far


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, FOUR_FRAMES])
def test_a_teacher_says_what_it_would_by_itself(samples, config):
    torch.manual_seed(0)
    model, batch = STMFNet(config), BatchSampler(samples, 2, 32).batch_at(0)
    teacher = network_teacher(model)
    speak(model)
    with torch.no_grad():
        expected = predict(model.eval(), batch)
    torch.testing.assert_close(teacher(batch), expected, atol=1e-5, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        half = teacher(batch).float()
    assert 0 < (half - expected).abs().max() < 0.05
    torch.testing.assert_close(teacher(batch), expected, atol=1e-5, rtol=1e-5)


def speak(model: nn.Module) -> None:
    """Change weights a little: some say nothing at first."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY, FOUR_FRAMES])
def test_a_teacher_in_bfloat16_errs_as_its_network_does_under_autocast(samples, config):
    """About as much, also in what a step learns: in the loss and its gradient."""
    torch.manual_seed(0)
    model, student, batch = STMFNet(config).eval(), STMFNet(TINY), BatchSampler(samples, 4, 64).batch_at(0)
    speak(model)
    with torch.no_grad():
        exact = predict(model, batch)
    learnt = []
    for teacher in (always(exact), lambda batch: predict(model, batch), network_teacher(model)):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            picture = teacher(batch).float()
        options = replace(OPTIONS, precision="bfloat16")
        loss, _ = Distillation(options, [teacher], alpha=0.0)(student(batch.frames), batch)
        gradient = torch.autograd.grad(loss, [p for p in student.parameters() if p.requires_grad])
        learnt.append((picture, loss.detach(), torch.cat([g.flatten() for g in gradient])))
    assert not torch.equal(learnt[1][0], learnt[2][0])  # it is the copy that teaches
    for exactly, by_itself, by_copy in zip(*learnt, strict=True):
        apart, bound = (torch.linalg.vector_norm(x - exactly) for x in (by_copy, by_itself))
        assert apart < 3 * bound + 1e-4 * torch.linalg.vector_norm(exactly)


def test_a_teacher_that_is_watched_teaches_itself():
    teacher, batch = network_teacher(model := STMFNet(TINY)), some_batch()
    unwatched, seen = teacher(batch), []
    model.texture.register_forward_hook(lambda *_: seen.append(True))
    torch.testing.assert_close(teacher(batch), unwatched, atol=1e-5, rtol=1e-5)
    assert seen == [True]


def test_precomputed_frames_teach_the_same(samples, tmp_path):
    """A teacher's pictures, kept for the store, come back turned as the samples are."""

    def moving(batch: Batch) -> torch.Tensor:  # knows no neighbourhood, so a crop of it is it of a crop
        return batch.frames[:, 1:3].mean(1) ** 2

    frames = store_frames(tmp_path / "taught.npy", predict_all(moving, samples), len(samples), (3, 64, 64))
    batches = BatchSampler(samples, 4, 32, seed=3, teacher_frames=[frames, frames[::-1]])
    for step in range(3):
        batch = batches.batch_at(step)
        torch.testing.assert_close(stored_teacher(0)(batch), moving(batch), atol=0.6 / 255, rtol=0)
        assert (stored_teacher(1)(batch) - moving(batch)).abs().mean() > 0.01
    with pytest.raises(ValueError, match="no frames of teacher 2"):
        stored_teacher(2)(batch)
    with pytest.raises(ValueError, match=r"no frames of teacher 0"):
        stored_teacher(0)(some_batch())
    with pytest.raises(ValueError, match="one for each sample"):
        BatchSampler(samples, 4, 32, teacher_frames=[frames[:-1]])


def save_onnx(path, inputs: dict[str, list], node) -> None:
    """An ONNX file of one node over inputs of the given shapes."""
    declared = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in inputs.items()]
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", None, "h", "w"])]
    graph = helper.make_graph([node], "teacher", declared, out)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)


@pytest.mark.parametrize(
    ("shapes", "picked"), [([["b", 3, "h", "w"]] * 2, (1, 2)), ([["b", 3, "h", "w"]] * 4, (0, 1, 2, 3))]
)
def test_an_onnx_file_teaches(tmp_path, shapes, picked):
    names = [f"x{k}" for k in range(len(shapes))]
    save_onnx(
        tmp_path / "mean.onnx",
        dict(zip(names, shapes, strict=True)),
        helper.make_node("Mean", names, ["out"]),
    )
    batch = some_batch()
    made = onnx_teacher(tmp_path / "mean.onnx")(batch)
    torch.testing.assert_close(made, batch.frames[:, list(picked)].mean(1))


def test_an_onnx_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        onnx_teacher(tmp_path / "nothing.onnx")


def test_a_teacher_of_other_pictures_is_refused():
    batch = some_batch()
    with pytest.raises(ValueError, match=r"does not fit: expected frames of shape \(2, 3, 32, 32\)"):
        Distillation(OPTIONS, [lambda batch: batch.frames[:, :2].flatten(1, 2)])(batch.truth, batch)


def test_attention_is_between_parts_of_any_width(samples):
    torch.manual_seed(0)
    wide = STMFNet(replace(TINY, kernel_hidden=12, features=(64, 32)))
    student, batch = STMFNet(TINY), BatchSampler(samples, 2, 32).batch_at(0)
    attention = AttentionLoss(student, wide, ["features", "multi_flow", "texture"])
    objective = Distillation(OPTIONS, [network_teacher(wide)], intermediate=[attention])
    loss, terms = objective(student(batch.frames), batch)
    assert 0 < terms["attention"] < 12
    assert loss.item() == pytest.approx((0.1 * terms["truth"] + terms["teacher"] + terms["attention"]).item())
    loss.backward()
    assert student.features.down[0].small.reduce[0].weight.grad.abs().sum() > 0
    twin = copy.deepcopy(student).eval()
    same = AttentionLoss(student.eval(), twin, ["features"])
    student(batch.frames), twin(batch.frames)
    assert same() < 1e-9
    with pytest.raises(ValueError, match=r"parts that both networks have, among .*; got 'flow'"):
        AttentionLoss(student, wide, ["flow"])


def test_settings_without_meaning():
    for teachers, weights in (([], None), ([always(torch.zeros(3, 1, 1))], [1, 2]), ([nn.Identity()], [0.0])):
        with pytest.raises(ValueError, match="at least one teacher, each with a weight"):
            Distillation(OPTIONS, teachers, weights=weights)
    with pytest.raises(ValueError, match="alpha of 0 or more, got -1"):
        Distillation(OPTIONS, [nn.Identity()], alpha=-1)


def test_teacher_frames_have_the_form_of_batches():
    frames = np.zeros((2, 5, 3, 8, 8), np.uint8)
    batch = collate(frames, (), np.full((2, 1, 3, 8, 8), 255, np.uint8)).to("cpu")
    assert batch.teacher_frames is not None
    assert batch.teacher_frames.shape == (2, 1, 3, 8, 8)
    assert batch.teacher_frames.min() == 1


def test_flows_are_distilled():
    branch = IntermediateFlowConfig(
        (FlowLevel(4, 8, 1), FlowLevel(2, 8, 1)), encoder=(4, 2), context=3, four_frames=True
    )
    config = ModelConfig(
        scales=(1.0,), features=None, flow=None, grid=None, texture=None, intermediate=branch
    )
    torch.manual_seed(0)
    student, teacher = STMFNet(config), STMFNet(config)
    objective = Distillation(
        OPTIONS, [network_teacher(teacher)], alpha=0.0, intermediate=[FlowLoss(student, teacher, 0.5)]
    )
    batch = some_batch()
    loss, terms = objective(student(batch.frames), batch)
    ours, theirs = (network.intermediate(batch.frames) for network in (student, teacher))
    flows = (ours.flows[0] - theirs.flows[0]).abs().mean()
    masks = (ours.mask.sigmoid() - theirs.mask.sigmoid()).abs().mean()
    assert terms["flows"].item() == pytest.approx(0.5 * (flows + MASK_WEIGHT * masks).item())
    assert loss.item() == pytest.approx((terms["teacher"] + terms["flows"]).item())
    loss.backward()
    assert student.intermediate.levels[0].up[0].weight.grad.any()
    losses = [FlowLoss(student, teacher, 0.5)]
    motion_alone = Distillation(OPTIONS, [network_teacher(teacher)], 1.0, [0.0], intermediate=losses)
    loss, parts = motion_alone(student(batch.frames), batch)
    assert parts["flows"].item() == pytest.approx(terms["flows"].item())
    assert loss.item() == pytest.approx((parts["truth"] + parts["flows"]).item())
    student.load_state_dict(teacher.state_dict())
    assert objective(student(batch.frames), batch)[1]["flows"].item() < 1e-6
    with pytest.raises(ValueError, match="intermediate-flow branch only"):
        FlowLoss(STMFNet(TINY), teacher)
