"""Light: code values to linear light and back, by the transfer characteristics of a source.

    code values ── to_light ──> linear light, which a shutter averages ── to_codes ──> code values

Curves are those of cameras (ITU-T H.273, table 3), not of displays, except PQ, which is defined for displays
only.
"""

from __future__ import annotations

from tweenlet.runtime.arrays import Array, array_namespace

LINEAR, SRGB, PQ, HLG = 8, 13, 16, 18
"""AVColorTransferCharacteristic; all others, and untagged sources, are treated as BT.709."""
_PQ_1, _PQ_2 = 2610 / 16384, 2523 / 4096 * 128
_PQ_A, _PQ_B, _PQ_C = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_709_A, _709_B = 1.09929682680944, 0.018053968510807
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073


def to_light(codes: Array, transfer: int) -> Array:
    """Convert code values of any shape, 0 for black and 1 for white, to linear light, 1 for white."""
    xp = array_namespace(codes)
    if transfer == LINEAR:
        return codes
    if transfer == PQ:
        power = codes.clip(0, 1) ** (1 / _PQ_2)
        return ((power - _PQ_A).clip(0) / (_PQ_B - _PQ_C * power)) ** (1 / _PQ_1)
    if transfer == HLG:
        bright = (xp.exp((codes - _HLG_C) / _HLG_A) + _HLG_B) / 12
        return xp.where(codes <= 0.5, codes * abs(codes) / 3, bright)
    if transfer == SRGB:
        return xp.where(codes <= 0.04045, codes / 12.92, ((codes.clip(0) + 0.055) / 1.055) ** 2.4)
    bright = ((codes.clip(0) + _709_A - 1) / _709_A) ** (1 / 0.45)
    return xp.where(codes < 4.5 * _709_B, codes / 4.5, bright)


def to_codes(light: Array, transfer: int) -> Array:
    """The inverse of :func:`to_light`."""
    xp = array_namespace(light)
    if transfer == LINEAR:
        return light
    if transfer == PQ:
        power = light.clip(0) ** _PQ_1
        return ((_PQ_A + _PQ_B * power) / (1 + _PQ_C * power)) ** _PQ_2
    if transfer == HLG:
        bright = _HLG_A * xp.log((12 * light - _HLG_B).clip(1e-6)) + _HLG_C
        return xp.where(light <= 1 / 12, xp.sign(light) * xp.sqrt(3 * abs(light)), bright)
    if transfer == SRGB:
        return xp.where(light <= 0.0031308, light * 12.92, 1.055 * light.clip(0) ** (1 / 2.4) - 0.055)
    return xp.where(light < _709_B, light * 4.5, _709_A * light.clip(0) ** 0.45 - _709_A + 1)
