"""The server's own SDK packages under /sdk/: what a program needs to send events to this server."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from saytics_server.errors import Refused

# Built by `make sdks` (npm pack, uv build) and shipped inside the server's package.
_FOLDER = Path(__file__).parent / "sdk_files"


def routes() -> list[BaseRoute]:
    """Return the routes; both package files and their stable names."""
    return [
        Route("/sdk/node.tgz", _node, methods=["GET"]),
        Route("/sdk/python.whl", _python, methods=["GET"]),
        Route("/sdk/{name}", _file, methods=["GET"]),
    ]


async def _node(_: Request) -> Response:
    return FileResponse(_newest("*.tgz"), media_type="application/gzip")


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
        raise Refused("not_found", "This server was started without its SDK packages (make sdks).")
    return found[-1]
