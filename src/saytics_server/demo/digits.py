"""Ids and times as text, many at once: a character matrix per block, cut into strings.

Formatting these one by one would cost more than everything else about an event.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from saytics_server.demo.dice import Bits, Ints

_DAY_MS = 86_400_000
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_UUID_LENGTH = 36
_UUID_DIGITS = np.array([i for i in range(_UUID_LENGTH) if i not in (8, 13, 18, 23)])


def uuid_texts(high: Bits, low: Bits, *, version: int) -> list[str]:
    """Return UUIDs of 128 bits given as two halves, their version and variant bits set."""
    high = (high & np.uint64(0xFFFFFFFFFFFF0FFF)) | np.uint64(version << 12)
    low = (low & np.uint64(0x3FFFFFFFFFFFFFFF)) | np.uint64(1 << 63)
    octets = np.stack([high, low], axis=1).astype(">u8").view(np.uint8)
    characters = np.full((len(high), _UUID_LENGTH), ord("-"), np.uint8)
    nibbles = np.stack([octets >> 4, octets & 15], axis=2).reshape(len(high), 32)
    characters[:, _UUID_DIGITS] = _HEX[nibbles]
    return _cut(characters)


def iso_texts(time_ms: Ints) -> list[str]:
    """Return times as the wire writes them: 2024-01-15T10:30:00.000Z."""
    days, rest = np.divmod(time_ms, _DAY_MS)
    characters = np.empty((len(time_ms), 24), np.uint8)
    known, index = np.unique(days, return_inverse=True)
    dates = known.astype("datetime64[D]").astype("S10")
    characters[:, :10] = dates.view(np.uint8).reshape(len(known), 10)[index]
    seconds, milliseconds = np.divmod(rest, 1000)
    parts = (seconds // 3600, seconds // 60 % 60, seconds % 60, milliseconds)
    for column, part in zip((11, 14, 17), parts, strict=False):
        characters[:, column] = part // 10 + ord("0")
        characters[:, column + 1] = part % 10 + ord("0")
    characters[:, 20] = milliseconds // 100 + ord("0")
    characters[:, 21] = milliseconds // 10 % 10 + ord("0")
    characters[:, 22] = milliseconds % 10 + ord("0")
    for column, sign in zip((10, 13, 16, 19, 23), b"T::.Z", strict=True):
        characters[:, column] = sign
    return _cut(characters)


def _cut(characters: npt.NDArray[np.uint8]) -> list[str]:
    """Return each row of ASCII characters as a text."""
    width = characters.shape[1]
    text = characters.tobytes().decode("ascii")
    return [text[start : start + width] for start in range(0, len(text), width)]
