"""FFV1 checksums (RFC 9043, 4.9), which FFmpeg checks, but reports in its log only.

packet:  slice ... size (3) error status (1) CRC (4) │ slice ... size (3) error status (1) CRC (4)
"""

from __future__ import annotations

import zlib

_FOOTER = 8
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Ffv1Check:
    """Checks the checksums in the packets of an FFV1 stream, if there are any."""

    def __init__(self) -> None:
        self._has_checksums = False

    def is_damaged(self, packet: bytes) -> bool:
        """Whether a packet's checksums are wrong; False until one packet has had valid ones."""
        intact = _is_intact(packet)
        self._has_checksums |= intact
        return self._has_checksums and not intact


def _is_intact(packet: bytes) -> bool:
    end = len(packet)
    while end > 0:
        size = int.from_bytes(packet[max(end - _FOOTER, 0) : end - _FOOTER + 3], "big") + _FOOTER
        if end < _FOOTER or size > end or _crc(packet[end - size : end]):
            return False
        end -= size
    return len(packet) > 0


def _crc(data: bytes) -> int:
    """CRC-32, most significant bit first, initial value 0; zlib's is least significant bit first."""
    return zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
