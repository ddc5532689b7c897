from __future__ import annotations

import gzip
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tweenlet.network import checkpoint as weights
from tweenlet.network import official, weight_files
from tweenlet.network.config import DEFAULT, MINI, STMFNET, TINY, FlowLevel, IntermediateFlowConfig
from tweenlet.network.stmfnet import STMFNet

EXPECTED = Path(__file__).parents[1] / "expected"


def manifest(net):
    return json.loads(gzip.decompress((EXPECTED / f"manifest_{net}.json.gz").read_bytes()))


def official_state(net):
    """A state_dict as published, of small random numbers."""
    torch.manual_seed(0)
    return {
        key: torch.randn(shape).mul(0.05).abs().to(getattr(torch, dtype))
        for key, shape, dtype in manifest(net)
    }


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return STMFNet(TINY).eval()


@pytest.mark.slow
@pytest.mark.parametrize(("net", "config"), [("mini", MINI), ("teacher", STMFNET)])
def test_official_names_map_one_to_one_both_ways(net, config):
    with torch.device("meta"):
        model = STMFNet(config)
    published = {name: (list(t.shape), str(t.dtype)) for name, t in official.to_official(model).items()}
    assert len(published) == len(model.state_dict())
    assert published == {key: (shape, f"torch.{dtype}") for key, shape, dtype in manifest(net)}


@pytest.mark.slow
def test_weights_stored_in_half_precision_are_loaded_as_float32(tmp_path):
    torch.manual_seed(0)
    model = STMFNet(TINY)
    weights.save(tmp_path / "whole.safetensors", model)
    weights.save(tmp_path / "half.safetensors", model, dtype=torch.float16)
    again = weights.load(tmp_path / "half.safetensors")
    for name, tensor in model.state_dict().items():
        stored = again.state_dict()[name]
        assert stored.dtype == tensor.dtype
        torch.testing.assert_close(stored, tensor, atol=1e-3, rtol=1e-3)
    sizes = [(tmp_path / f"{kind}.safetensors").stat().st_size for kind in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]


def test_a_name_of_no_part_is_refused():
    with pytest.raises(ValueError, match=r"no official name for head\.weight"):
        official.official_name("head.weight")


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "module."])
def test_convert_a_published_checkpoint(prefix, tmp_path):
    state = official_state("mini")
    path = tmp_path / "stmfnet_mini.pth"
    torch.save({"epoch": 70, "state_dict": {prefix + key: t for key, t in state.items()}}, path)
    model = official.convert(path)
    assert model.config == MINI
    assert not model.training
    back = official.to_official(model)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)
    weights.save(tmp_path / "mini.safetensors", model)
    again = weights.load(tmp_path / "mini.safetensors")
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.state_dict().values(), model.state_dict().values(), strict=True)
    )


def test_convert_finds_the_config_from_the_shapes():
    config = replace(
        MINI, kernel_size=3, kernel_hidden=20, grid=(10, 12, 14), texture=(4, 6, 8, 10), texture_out=5
    )
    assert official.from_official(official.to_official(STMFNet(config))).config == config


@pytest.mark.slow
def test_convert_names_the_first_keys_that_differ(tmp_path):
    def refused(change, match):
        state = official_state("mini")
        change(state)
        torch.save({"state_dict": state}, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=match):
            official.convert(tmp_path / "other.pth")

    refused(lambda s: s.pop("get_kernel.moduleBeta1.2.bias"), r"1 missing \(get_kernel.moduleBeta1.2.bias\)")
    refused(lambda s: s.update(extra=torch.zeros(1)), r"1 unknown \(extra\)")
    refused(
        lambda s: s.update({"upsampler.filter": torch.zeros(3, 1, 1, 6)}),
        r"1 of another shape \(upsampler.filter \(3, 1, 1, 6\) for \(3, 1, 1, 8\)\)",
    )
    refused(lambda s: [s.pop(key) for key in list(s)[:-1]], r"872 missing \(feature_extractor.+, \.\.\.\)")


def foreign_files(folder):
    """Files that are no published checkpoint, each under its name."""
    (folder / "text.pth").write_text("hello")
    (folder / "empty.pth").write_bytes(b"")
    (folder / "pickle.pth").write_bytes(pickle.dumps({"state_dict": Path("x")}))
    torch.save(torch.nn.Linear(1, 1), folder / "module.pth")
    torch.save({"model": {"a": torch.zeros(1)}}, folder / "other.pth")
    torch.save({"state_dict": {"a": 1}}, folder / "numbers.pth")
    torch.save({"state_dict": {"a": torch.zeros(2)}}, folder / "keys.pth")
    torch.save([1, 2], folder / "list.pth")
    whole = (folder / "keys.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])


def test_convert_refuses_foreign_files_with_one_line(tmp_path):
    foreign_files(tmp_path)
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=re.escape(path.name)) as error:
            official.convert(path)
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        official.convert(tmp_path / "nowhere.pth")


def test_save_and_load(tiny, tmp_path):
    path = tmp_path / "tiny.safetensors"
    weights.save(path, tiny, {"note": "made by a test"})
    loaded = weights.load(path)
    assert loaded.config == TINY
    assert not loaded.training
    for (name, ours), (other, theirs) in zip(
        tiny.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(ours, theirs)
    assert weights.load(str(path)).config == TINY


def test_the_same_network_gives_the_same_bytes(tiny, tmp_path):
    notes = {letter: letter for letter in "abcdefgh"}
    for k in range(3):
        weights.save(tmp_path / f"{k}.safetensors", tiny, dict(sorted(notes.items(), reverse=k % 2)))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_metadata_is_changed_without_the_weights(tiny, tmp_path):
    path = tmp_path / "tiny.safetensors"
    weights.save(path, tiny, {"license": "mit", "note": "an odd one: é"})
    weights.write_metadata(path, {"license": "", "teacher": "one"})
    assert weight_files.read_metadata(path).keys() == {"config", "note", "teacher", "tweenlet"}
    assert weights.digest(weights.load(path)) == weights.digest(tiny)
    (tmp_path / "x.safetensors").write_bytes(b"not one")
    with pytest.raises(ValueError, match="not a valid safetensors file"):
        weight_files.read_metadata(tmp_path / "x.safetensors")


def test_format_1_is_read_under_the_present_names(tmp_path):
    levels = (FlowLevel(4, 4, 0), FlowLevel(2, 4, 0))
    timed = replace(DEFAULT, intermediate=IntermediateFlowConfig(levels, (2, 2), 1, four_frames=True))
    olds = {"multi_flow.": "kernels.", ".upsample_": ".enlarge_", "acceleration_weight": "trust"}
    for config in (replace(TINY, flow=(4, 4, 4)), timed):
        state, old = STMFNet(config).state_dict(), {}
        for name, tensor in state.items():
            for new, former in olds.items():
                name = name.replace(new, former)
            old[name] = tensor.contiguous()
        assert old.keys() != state.keys()
        metadata = {"tweenlet": "1", "config": json.dumps(config.to_json())}
        save_file(old, tmp_path / "old.safetensors", metadata)
        loaded = weights.load(tmp_path / "old.safetensors").state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_load_refuses_what_is_no_checkpoint(tiny, tmp_path):
    good = tmp_path / "good.safetensors"
    weights.save(good, tiny)
    whole = good.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    tensors = tiny.state_dict()
    metadata = {"tweenlet": "2", "config": json.dumps(TINY.to_json())}
    save_file(
        {k: t for k, t in tensors.items() if "fusion" not in k}, tmp_path / "part.safetensors", metadata
    )
    broken = {**TINY.to_json(), "grid": [1]}
    save_file(tensors, tmp_path / "config.safetensors", {**metadata, "config": json.dumps(broken)})
    save_file(tensors, tmp_path / "json.safetensors", {**metadata, "config": "[1"})
    good.unlink()
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=re.escape(path.name)) as error:
            weights.load(path)
        assert "\n" not in str(error.value)


def test_load_by_name(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(weight_files, "FOLDERS", (tmp_path / "none", tmp_path))
    weights.save(tmp_path / "small.safetensors", tiny)
    assert weights.names() == ["small"]
    assert weights.load("small").config == TINY
    with pytest.raises(ValueError, match=r"no weights called 'large'; there are: small"):
        weights.load("large")
    with pytest.raises(FileNotFoundError, match="no such file"):
        weights.load("large.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        weights.load(tmp_path / "large")


def test_saving_where_nothing_can_be_written(tiny, tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        weights.save(tmp_path / "nowhere" / "tiny.safetensors", tiny)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError, match="folder"):
        weights.save(tmp_path / "folder.safetensors", tiny)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


@pytest.mark.parametrize(
    "text", ["", "[", "[" * 100_000, "[]", "3", "{}", '{"grid": 3}', "\\ud800"], ids=lambda text: text[:8]
)
def test_a_config_that_was_edited_or_cut_is_refused_in_words(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is not the config of a network"):
        weights.network_of(str(tmp_path / "config.json"))
    tensors = {"a": torch.ones(1)}
    save_file(tensors, tmp_path / "a.safetensors", {"tweenlet": weights.FORMAT, "config": text})
    with pytest.raises(ValueError, match=r"a\.safetensors carries a config that cannot be built"):
        weights.load(tmp_path / "a.safetensors")


def test_a_name_of_weights_and_of_a_config_is_that_of_the_weights():
    assert weights.digest(weights.trained_network_of("default")) == weights.digest(weights.load("default"))
    assert weights.trained_network_of("mini").config == MINI
