"""The server's own SDKs: packages under /sdk/, and the script that pages load, /saytics.js.

In: the files built by `make sdks`. Out: what a program or a page needs to send events to this
server, without any other host. The script's address never changes, so browsers ask again after an
hour, and are told by its ETag if it is still the same.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from pathlib import Path

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from saytics_server.errors import Refused

# Built by `make sdks` (esbuild, npm pack, uv build) and shipped inside the server's package.
_FOLDER = Path(__file__).parent / "sdk_files"
# A new version of the script is on every page after this; a page view costs no request until then.
_SCRIPT_FRESH_S = 3600
# While a browser asks again, the page goes on with the script it has.
_SCRIPT_STALE_S = 86_400
_ETAG_DIGITS = 16


class _Script(msgspec.Struct, frozen=True):
    """The browser script as it is served."""

    body: bytes
    compressed: bytes
    etag: str


def routes() -> list[BaseRoute]:
    """Return the routes: the script, the package files and their stable names."""
    return [
        Route("/saytics.js", _browser_script, methods=["GET"]),
        Route("/sdk/browser.tgz", _browser, methods=["GET"]),
        Route("/sdk/node.tgz", _node, methods=["GET"]),
        Route("/sdk/python.whl", _python, methods=["GET"]),
        Route("/sdk/{name}", _file, methods=["GET"]),
    ]


async def _browser_script(request: Request) -> Response:
    script = await run_in_threadpool(_script)
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": (
            f"public, max-age={_SCRIPT_FRESH_S}, stale-while-revalidate={_SCRIPT_STALE_S}"
        ),
        "Cross-Origin-Resource-Policy": "cross-origin",
        "ETag": script.etag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    known = _items(request.headers.get("if-none-match", ""))
    if script.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    headers["Content-Type"] = "text/javascript; charset=utf-8"
    if "gzip" not in _items(request.headers.get("accept-encoding", "")):
        return Response(script.body, headers=headers)
    return Response(script.compressed, headers={**headers, "Content-Encoding": "gzip"})


@cache
def _script() -> _Script:
    """Read and compress the script once; the process is started anew after `make sdks`."""
    try:
        body = (_FOLDER / "saytics.js").read_bytes()
    except FileNotFoundError:
        raise _not_built() from None
    # Weak: it stands for both encodings.
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:_ETAG_DIGITS]}"'
    return _Script(body, gzip.compress(body, mtime=0), etag)


def _items(header: str) -> list[str]:
    """Return the items of a list header, without their parameters."""
    return [item.split(";")[0].strip() for item in header.split(",")]


async def _browser(_: Request) -> Response:
    return FileResponse(_newest("saytics-browser-*.tgz"), media_type="application/gzip")


async def _node(_: Request) -> Response:
    return FileResponse(_newest("saytics-node-*.tgz"), media_type="application/gzip")


async def _python(_: Request) -> Response:
    # pip reads name and version from the file's name, so the stable name leads to the full one.
    return RedirectResponse(f"/sdk/{_newest('*.whl').name}", 302)


async def _file(request: Request) -> Response:
    name = request.path_params["name"]
    for path in _FOLDER.glob("*"):
        if path.name == name and path.suffix in (".whl", ".tgz"):
            return FileResponse(path, media_type="application/octet-stream")
    raise Refused("not_found")


def python_package_path() -> str:
    """Return the path pip can install from: it takes name and version from the file's name."""
    found = sorted(_FOLDER.glob("*.whl"))
    return f"/sdk/{found[-1].name}" if found else "/sdk/python.whl"


def _newest(pattern: str) -> Path:
    found = sorted(_FOLDER.glob(pattern))
    if not found:
        raise _not_built()
    return found[-1]


def _not_built() -> Refused:
    return Refused("not_found", "This server was started without its SDK packages (make sdks).")
