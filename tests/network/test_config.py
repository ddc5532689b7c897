from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from tweenlet.network import config
from tweenlet.network.config import MINI, STMFNET, TINY, ModelConfig

NAMED = {name: value for name, value in vars(config).items() if isinstance(value, ModelConfig)}


@pytest.mark.parametrize("name", NAMED)
def test_every_named_config_survives_json(name):
    assert ModelConfig.from_json(json.loads(json.dumps(NAMED[name].to_json()))) == NAMED[name]


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": (1.0, 0.5), "grid": (5, 7)},
        {"features": (32, 40, 34)},
        {"kernel_hidden": 3},
        {"kernel_size": 4},
        {"dilation": 2},
        {"flow": (4, 8)},
        {"grid": (1, 2, 3)},
        {"texture": None},
        {"texture_out": 1},
    ],
)
def test_every_field_survives_json(changes):
    made = replace(TINY, **changes)
    assert ModelConfig.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scales": (2.0, 0.5)}, "scales must be a run"),
        ({"scales": (0.5, 1.0)}, "scales must be a run"),
        ({"scales": (2.0,)}, "scales must be a run"),
        ({"scales": ()}, "scales must be a run"),
        ({"grid": (4, 6)}, "one width per scale"),
        ({"grid": (4, 6, 0)}, "grid must be positive"),
        ({"features": (31,)}, "at least 32"),
        ({"features": (33,)}, "even"),
        ({"features": ()}, "features must be"),
        ({"features": None}, "nothing would make a candidate"),
        ({"features": None, "flow": (4, 8)}, "nothing makes candidates at scale 2"),
        ({"flow": "farneback"}, "flow must be None or"),
        ({"grid": None}, "one width per scale"),
        ({"flow": (4,)}, "two levels"),
        ({"texture": (4, 4)}, "texture needs 4"),
        ({"texture_out": 0}, "texture_out must be positive"),
        ({"kernel_size": 0}, "kernel_size must be positive"),
        ({"dilation": -1}, "dilation must be positive"),
        ({"dilation": 10**30}, "dilation must be positive, and at most"),
        ({"kernel_hidden": 2.0}, "kernel_hidden must be of whole numbers"),
        ({"kernel_hidden": None}, "kernel_hidden must be of whole numbers"),
        ({"grid": ("4", 6, 8)}, "grid must be of whole numbers"),
        ({"grid": (True, 6, 8)}, "grid must be of whole numbers"),
        ({"grid": {"a": 1}}, "grid must be None or"),
        ({"flow": (4,) * 1000}, "flow must be None or at most 16 widths"),
        ({"texture": 4}, "texture must be None or"),
        ({"scales": 1.0}, "scales must be a run"),
    ],
)
def test_what_cannot_be_built_is_refused_in_words(changes, words):
    with pytest.raises(ValueError, match=words):
        replace(TINY, **changes)


def test_other_fields_are_refused():
    values = STMFNET.to_json()
    values.pop("grid")
    with pytest.raises(ValueError, match=r"not those of ModelConfig: missing grid$"):
        ModelConfig.from_json(values)
    with pytest.raises(ValueError, match=r"not those of ModelConfig: unknown depth; missing grid$"):
        ModelConfig.from_json({**values, "depth": 3})
    for values in (None, [], "mini", 3):
        with pytest.raises(ValueError, match="expected a JSON object of fields, got"):
            ModelConfig.from_json(values)


def test_networks_with_classical_motion_are_of_the_past():
    """Files of other networks that were written then say that they have none."""
    assert ModelConfig.from_json({**MINI.to_json(), "refine": None}) == MINI
    for past in ({"refine": [32, 48, 72]}, {"flow": "dis"}, {"flow": "dis", "refine": [8]}):
        with pytest.raises(ValueError, match="made by a version with classical motion"):
            ModelConfig.from_json({**MINI.to_json(), **past})


def test_a_config_is_a_value():
    assert replace(MINI) == MINI
    assert hash(MINI) == hash(replace(MINI))
    assert MINI != STMFNET
    assert {field.name for field in fields(ModelConfig)} - MINI.to_json().keys() == {"intermediate"}


@pytest.mark.parametrize(
    "branch",
    [
        *(3, [], {}, {"levels": 3}, {"levels": [{"scale": "4"}]}),
        {"levels": [{"scale": 4, "width": 8.5, "blocks": 1}], "encoder": [8, 4]},
        {"levels": [{"scale": 4, "width": 8, "blocks": 10**9}], "encoder": [8, 4]},
        {"levels": [{"scale": 4, "width": 8, "blocks": 1}], "encoder": [8]},
        {"levels": [{"scale": 4, "width": 8, "blocks": 1}], "encoder": ["8", 4]},
    ],
)
def test_an_intermediate_flow_of_other_kinds_is_refused_in_words(branch):
    plain = dict.fromkeys(("features", "flow", "grid", "texture"))
    with pytest.raises(ValueError, match=r"expected|must be"):
        ModelConfig.from_json({**STMFNET.to_json(), **plain, "intermediate": branch})
