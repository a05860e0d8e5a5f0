"""Static files under addresses that change with their content, so that browsers keep them for ever.

In: the files of `static/`. Out: `/assets/HASH/NAME`, immutable, compressed for those who ask.
Style sheets name other files relative to `static/`; those names are replaced by their addresses
when the files are read, which is why style sheets are read last.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from pathlib import Path

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from saytics_server.errors import Refused

_ROOT = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# Fonts are compressed already; below a kilobyte the header costs more than it saves.
_COMPRESSED_TYPES = (".css", ".js", ".svg")
_COMPRESS_FROM_BYTES = 1024
_CSS_NAME = re.compile(rb'url\("([^"]+)"\)')
# Ten digits: no two of a few dozen files collide, and the address stays readable.
_HASH_DIGITS = 10


class Asset(msgspec.Struct, frozen=True):
    """One static file, as it is served."""

    name: str
    address: str
    content_type: str
    body: bytes


@cache
def _assets() -> dict[str, Asset]:
    """Read every static file once."""
    paths = [path for path in _ROOT.rglob("*") if path.suffix in _TYPES]
    assets: dict[str, Asset] = {}
    for path in sorted(paths, key=lambda path: (path.suffix == ".css", path)):
        name = path.relative_to(_ROOT).as_posix()
        body = path.read_bytes()
        if path.suffix == ".css":
            body = _CSS_NAME.sub(
                lambda found: b'url("' + assets[found[1].decode()].address.encode() + b'")', body
            )
        digest = hashlib.sha256(body).hexdigest()[:_HASH_DIGITS]
        assets[name] = Asset(name, f"/assets/{digest}/{name}", _TYPES[path.suffix], body)
    return assets


def address(name: str) -> str:
    """Return the address of the static file `name`. KeyError if there is none."""
    return _assets()[name].address


@cache
def _compressed(name: str) -> bytes:
    return gzip.compress(_assets()[name].body, mtime=0)


def _is_compressible(request: Request, asset: Asset) -> bool:
    if not asset.name.endswith(_COMPRESSED_TYPES) or len(asset.body) < _COMPRESS_FROM_BYTES:
        return False
    offered = request.headers.get("accept-encoding", "").split(",")
    return any(part.split(";")[0].strip() == "gzip" for part in offered)


async def _serve(request: Request) -> Response:
    asset = _assets().get(request.path_params["name"])
    if asset is None or asset.address != request.url.path:
        raise Refused("not_found")
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Content-Type": asset.content_type,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if not _is_compressible(request, asset):
        return Response(asset.body, headers=headers)
    body = await run_in_threadpool(_compressed, asset.name)
    return Response(body, headers={**headers, "Content-Encoding": "gzip"})


def asset_route() -> Route:
    """Return the route of all static files."""
    return Route("/assets/{digest}/{name:path}", _serve, methods=["GET"])
