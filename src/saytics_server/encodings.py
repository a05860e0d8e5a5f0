"""Content encodings of request bodies, unpacked with a bound on what comes out.

A body that unpacks to more than its limit stops there (a bomb costs the limit, not its size); one
that ends early or goes on after its end is refused.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
from isal import isal_zlib

from saytics_server.errors import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Every way an unpacker says that its input is not what it claims to be.
_UNPACK_ERRORS: Any = (zlib.error, isal_zlib.error, zstd.ZstdError, brotli.error, EOFError)

# A file may have several members or frames. Each costs a copy of what follows it, so that a body of
# empty ones would cost the square of its size; nobody sends more than a few.
_MEMBERS_MAX = 100

_GZIP_WINDOW = 31  # 15 bits of window and 16 for the gzip wrapper
_ZLIB_WINDOW, _RAW_WINDOW = 15, -15


def unpack(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Return `body` without its content encoding.

    Raises Refused("unsupported_encoding" | "invalid_encoding" | "body_too_large").
    """
    unpacker = _UNPACKERS.get(encoding)
    if unpacker is None:
        raise Refused(
            "unsupported_encoding",
            f"Content-Encoding {encoding[:40]!r} is not supported; use gzip, deflate, zstd or br.",
        )
    try:
        unpacked = unpacker(body, bytes_max)
    except _UNPACK_ERRORS as error:
        raise Refused("invalid_encoding", f"The body is not valid {encoding}: {error}.") from None
    if len(unpacked) > bytes_max:
        raise Refused(
            "body_too_large", f"The body unpacks to more than {bytes_max} bytes; send less at once."
        )
    return unpacked


def _gzip(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    left = bytes_max + 1
    while body and left > 0:
        _refuse_many(parts)
        member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
        part = _drain(member, body, left)
        left -= len(part)
        parts.append(part)
        body = member.unused_data
    return b"".join(parts)


def _deflate(body: bytes, bytes_max: int) -> bytes:
    # The name promises the zlib wrapper; some senders leave it out.
    is_wrapped = len(body) >= 2 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0
    stream = isal_zlib.decompressobj(wbits=_ZLIB_WINDOW if is_wrapped else _RAW_WINDOW)
    part = _drain(stream, body, bytes_max + 1)
    _refuse_rest(stream, part, bytes_max)
    return part


def _zstd(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    left = bytes_max + 1
    while body and left > 0:
        _refuse_many(parts)
        frame = zstd.ZstdDecompressor()
        part = frame.decompress(body, max_length=left)
        left -= len(part)
        if left > 0 and not frame.eof:
            raise EOFError("it ends early")
        parts.append(part)
        body = frame.unused_data
    return b"".join(parts)


def _brotli(body: bytes, bytes_max: int) -> bytes:
    stream = brotli.Decompressor()
    part: bytes = stream.process(body, output_buffer_limit=bytes_max + 1)
    while not stream.is_finished() and len(part) <= bytes_max:
        more = stream.process(b"", output_buffer_limit=bytes_max + 1 - len(part))
        if not more:
            raise EOFError("it ends early")
        part += more
    return part


def _drain(stream: Any, body: bytes, bytes_max: int) -> bytes:
    part: bytes = stream.decompress(body, bytes_max)
    if not stream.eof and len(part) < bytes_max:
        raise EOFError("it ends early")
    return part


def _refuse_many(parts: list[bytes]) -> None:
    if len(parts) == _MEMBERS_MAX:
        raise EOFError("it has too many members")


def _refuse_rest(stream: Any, part: bytes, bytes_max: int) -> None:
    if len(part) <= bytes_max and stream.unused_data:
        raise EOFError("it goes on after its end")


_UNPACKERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
    "br": _brotli,
}
