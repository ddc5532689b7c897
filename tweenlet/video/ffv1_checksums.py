"""FFV1's own checksums (RFC 9043, 4.9): FFmpeg compares them, but says so in its log only.

packet:  slice ... size (3) error status (1) CRC (4) │ slice ... size (3) error status (1) CRC (4)
"""

from __future__ import annotations

import zlib

_FOOTER = 8
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class Ffv1Check:
    """Compares the checksums of the packets of one FFV1 stream, if it has some."""

    def __init__(self) -> None:
        self._has_checksums = False

    def is_damaged(self, packet: bytes) -> bool:
        """Whether a packet's checksums are wrong; False until one packet has shown that there are any."""
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
    """CRC-32, the most significant bit first, beginning with 0; zlib's begins with the other end of bytes."""
    return zlib.crc32(data.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
