"""Content encodings: what comes out, and what a bomb costs."""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from time import perf_counter

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saytics_server.encodings import unpack
from saytics_server.errors import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MEBIBYTE = 1024 * 1024
BODY = json.dumps({"events": [{"event": "Größe gewählt", "userId": "u"}] * 50}).encode()


def raw_deflate(content: bytes) -> bytes:
    """Return deflate without its zlib wrapper, as some senders do."""
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACK: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "br": ("br", brotli.compress),
}
every_encoding = pytest.mark.parametrize(("encoding", "pack"), PACK.values(), ids=PACK)


def refusal(body: bytes, encoding: str, bytes_max: int = MEBIBYTE) -> str:
    """Return the code with which a body is refused."""
    with pytest.raises(Refused) as caught:
        unpack(body, encoding, bytes_max)
    return caught.value.rejection.code


@every_encoding
@pytest.mark.parametrize("size", [0, 1, 100, 70_000])
def test_what_was_packed_comes_out(encoding: str, pack: Callable[[bytes], bytes], size: int):
    """Every encoding of the contract, from nothing to more than its window."""
    content = (BODY * 100)[:size]
    assert unpack(pack(content), encoding, MEBIBYTE) == content


@every_encoding
def test_a_body_of_exactly_the_limit_passes(encoding: str, pack: Callable[[bytes], bytes]):
    """One byte more is too large."""
    content = BODY * 3
    assert unpack(pack(content), encoding, len(content)) == content
    assert refusal(pack(content), encoding, len(content) - 1) == "body_too_large"


@every_encoding
def test_a_bomb_costs_its_limit_and_not_its_size(encoding: str, pack: Callable[[bytes], bytes]):
    """20 MiB of zeros are dropped after the first MiB."""
    bomb = pack(bytes(20 * MEBIBYTE))
    tracemalloc.start()
    try:
        assert refusal(bomb, encoding) == "body_too_large"
        assert tracemalloc.get_traced_memory()[1] < 8 * MEBIBYTE
    finally:
        tracemalloc.stop()


@every_encoding
@pytest.mark.parametrize("cut", [1, 2, 5, 9, 50])
def test_a_body_that_ends_early_is_refused(encoding: str, pack: Callable[[bytes], bytes], cut: int):
    """Half an array of events is not fewer events."""
    assert refusal(pack(BODY)[:-cut], encoding) == "invalid_encoding"


@every_encoding
@pytest.mark.parametrize("rest", [b"\0", b"trailing garbage", BODY])
def test_a_body_that_goes_on_after_its_end_is_refused(
    encoding: str, pack: Callable[[bytes], bytes], rest: bytes
):
    """What follows was meant to be read, so it is not silently dropped."""
    assert refusal(pack(BODY) + rest, encoding) == "invalid_encoding"


@pytest.mark.parametrize(("encoding", "pack"), [PACK["gzip"], PACK["zstd"]])
def test_several_members_are_one_body(encoding: str, pack: Callable[[bytes], bytes]):
    """Both formats allow a file to be put together from files."""
    assert unpack(pack(b"one ") + pack(b"") + pack(b"two"), encoding, 100) == b"one two"
    assert refusal(pack(b"one ") + pack(b"two"), encoding, 6) == "body_too_large"


@pytest.mark.parametrize(("encoding", "pack"), [PACK["gzip"], PACK["zstd"]])
def test_a_million_empty_members_do_not_keep_a_thread_busy(
    encoding: str, pack: Callable[[bytes], bytes]
):
    """Time grows with the body's bytes, not with their square."""
    body = pack(b"") * 100_000
    started = perf_counter()
    with contextlib.suppress(Refused):
        unpack(body, encoding, MEBIBYTE)
    assert perf_counter() - started < 1


@every_encoding
@pytest.mark.parametrize("body", [b"\xff", b"{}", BODY, bytes(100)])
def test_a_body_that_is_not_packed_at_all_is_refused(
    encoding: str, pack: Callable[[bytes], bytes], body: bytes
):
    """The header says what the body is not."""
    assert refusal(body, encoding) == "invalid_encoding"


@pytest.mark.parametrize("encoding", ["compress", "GZIP", "gzip, br", "x" * 1000, "gzip\u00e9"])
def test_an_unknown_encoding_is_named(encoding: str):
    """The caller lower-cases; here the name must be one of the table."""
    assert refusal(b"x", encoding) == "unsupported_encoding"


@given(st.sampled_from([name for name, _ in PACK.values()]), st.binary(max_size=100), st.data())
def test_damaged_bodies_are_refused_or_unpacked_and_never_raise(
    encoding: str, content: bytes, data: st.DataObject
):
    """One byte changed anywhere ends in bytes or in a code of the table."""
    pack = next(pack for name, pack in PACK.values() if name == encoding)
    packed = bytearray(pack(content))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Refused):
        assert len(unpack(bytes(packed), encoding, 1000)) <= 1000
