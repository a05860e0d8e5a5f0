"""The `saytics` command: parse, call, print. Everything else lives elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

import click

from saytics_server import __version__, config
from saytics_server.errors import Failure

_DATA_DIR = click.option("--data-dir", type=click.Path(), help="Folder that holds everything.")


@click.group()
@click.version_option(__version__, prog_name="saytics")
def cli() -> None:
    """Self-hosted product analytics with server-side tracking at its heart."""


@cli.command()
@click.option("--listen", help=f"HOST:PORT to listen on. Default {config.DEFAULT_LISTEN}.")
@_DATA_DIR
@click.option("--public-url", help="Address people use, when it is not the one listened on.")
def serve(**options: Any) -> None:
    """Start the server. With no options it works on a fresh machine."""
    _log_to_stderr()
    from saytics_server.server import Server  # noqa: PLC0415 - loads the engine; --help need not

    server = Server(config.load(**options))
    server.run(lambda: _announce(server))


def main() -> None:
    """Run the command; a failure is one clear line and exit code 1."""
    try:
        cli(standalone_mode=False)
    except Failure as failure:
        click.echo(f"saytics: {failure}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)


def _log_to_stderr() -> None:
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for noisy in ("uvicorn", "httpx", "alembic", "clickhouse_connect"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _announce(server: Any) -> None:
    parts = server.parts
    address = server.config.public_url or server.address
    lines = [f"Saytics {__version__} is ready at {address}"]
    lines.append(f"  data directory  {parts.data_dir.path}")
    first = parts.first
    if first is not None:
        lines += _first_lines(address, first, parts.data_dir.path)
    else:
        lines.append(f"  Data and keys of {_workspaces(parts.accounts)} are as you left them.")
    if not parts.accounts.has_accounts():
        token = parts.accounts.setup_token()
        lines.append("")
        lines.append("Make your account (the link works once):")
        lines.append(f"  {address}/setup?token={token}")
    shown = "\n".join(lines)
    if sys.stdout.isatty() or first is None:
        click.echo(shown)
        return
    path = parts.data_dir.path / "first-keys"
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with Path(path).open("x", opener=_private) as file:
        file.write(shown + "\n")
    click.echo(lines[0])
    click.echo(f"  The first keys are in {path} (readable by you alone); no terminal was there.")


def _first_lines(address: str, first: Any, data_dir: Path) -> list[str]:
    return [
        "",
        f"Your first workspace is `{first.workspace.slug}`. Its keys, shown this once:",
        f"  secret key (servers)   {first.secret_key}",
        f"  write key (browsers)   {first.write_key}",
        "",
        "Send an event:",
        f"  curl -X POST {address}/v1/events \\",
        f'    -H "Authorization: Bearer {first.secret_key}" \\',
        '    -H "Content-Type: application/json" \\',
        """    -d '{"userId": "user_456", "event": "Subscription Upgraded", """
        """"properties": {"plan": "pro", "mrr": 49.99}}'""",
    ]


def _workspaces(accounts: Any) -> str:
    names = [workspace.slug for workspace in accounts.workspaces()]
    return f"workspace {names[0]}" if len(names) == 1 else f"{len(names)} workspaces"


def _private(path: str, flags: int) -> int:
    import os  # noqa: PLC0415

    return os.open(path, flags, 0o600)
