"""Weights of pruned modules: a file's tensors into the original class, which takes on their widths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd


def load_pruned(module: nn.Module, path: str | Path) -> nn.Module:
    """Load weights into a module, narrowing its layers to the widths of the tensors; returns the module.

    Args:
        module: an instance of the original class, at full width.
        path: safetensors file, or a state dict by torch.save, alone or under "state_dict" or "model".

    Raises:
        ValueError: a file that is neither, or tensors of another network.
        FileNotFoundError: there is no such file.

    Examples:
        >>> torch.save(torch.nn.Conv2d(3, 5, 3).state_dict(), "pruned.pt")
        >>> tweenlet.load_pruned(torch.nn.Conv2d(3, 8, 3), "pruned.pt")(torch.rand(1, 3, 9, 9)).shape
        torch.Size([1, 5, 7, 7])

    """
    tensors = _read_tensors(Path(path))
    state = module.state_dict()
    if missing := sorted(set(state) ^ set(tensors)):
        raise ValueError(f"{path} is of another network: it differs in {', '.join(missing[:3])}, ...")
    for name, tensor in tensors.items():
        if tensor.dim() != state[name].dim():
            raise ValueError(f"{path} is of another network: {name} is {tuple(tensor.shape)}")
        owner_name, _, leaf = name.rpartition(".")
        owner = module.get_submodule(owner_name)
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(tensor.clone())
        else:
            owner._buffers[leaf] = tensor.clone()
    for layer in module.modules():
        _take_widths(layer)
    return module


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"no such file of weights: {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, KeyError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"{path} holds no weights: {first_line(error)}") from error
    except Exception as error:  # torch's unpickler has errors of its own
        raise ValueError(f"{path} holds more than tensors, or is damaged: {first_line(error)}") from error
    for key in ("state_dict", "model"):
        if isinstance(values, Mapping) and isinstance(values.get(key), Mapping):
            values = values[key]
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise ValueError(f"{path} holds no state dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in values.items()}


def _take_widths(layer: nn.Module) -> None:
    """Set the channel counts of a layer from the shape of its weight."""
    weight = layer._parameters.get("weight")
    if weight is None:
        return
    if isinstance(layer, _ConvNd):
        depthwise = layer.groups > 1 and layer.groups == layer.in_channels
        if depthwise:
            layer.groups = weight.shape[0]
        first, second = weight.shape[0], weight.shape[1]
        outs, ins = (second * layer.groups, first) if layer.transposed else (first, second * layer.groups)
        layer.out_channels, layer.in_channels = outs, ins
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = weight.shape
    elif isinstance(layer, _BatchNorm | nn.InstanceNorm2d):
        layer.num_features = len(weight)
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = len(weight)
    elif isinstance(layer, nn.GroupNorm):
        layer.num_channels = len(weight)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its type if it has none; 160 characters at most."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:160]
