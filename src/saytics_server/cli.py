"""The `saytics` command: parse, call, print. Everything else lives elsewhere."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from saytics_server import __version__, config
from saytics_server.clock import SystemClock
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
    # The engine's library takes half a second to load, on another core than everything else.
    threading.Thread(target=importlib.import_module, args=("chdb",)).start()
    from saytics_server.server import Server  # noqa: PLC0415 - loads the engine; --help need not

    server = Server(config.load(**options))
    server.run(lambda: _announce(server))


@cli.command()
@click.option("--events", type=int, help="About how many events. Default 300,000.")
@click.option("--days", type=int, help="Days of history up to now. Default 90.")
@click.option("--persons", type=int, help="Visitors and users together.")
@click.option("--seed", type=int, help="The same seed makes the same company. Default 1.")
@_DATA_DIR
def demo(data_dir: str | None, **sizes: int | None) -> None:
    """Load a sample company into a workspace of its own."""
    from saytics_server.demo import DemoPlan  # noqa: PLC0415 - loads numpy
    from saytics_server.demo_command import load_demo  # noqa: PLC0415 - loads the engine

    given = {name: value for name, value in sizes.items() if value is not None}
    try:
        plan = DemoPlan(SystemClock().now_ms(), **given)
        load_demo(config.load(data_dir=data_dir), plan, click.echo)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@cli.command()
@_DATA_DIR
def check(data_dir: str | None) -> None:
    """Tell what is wrong with a data directory that no server has open."""
    from saytics_server.check import findings  # noqa: PLC0415 - loads the engine

    _tell_findings(findings(config.load(data_dir=data_dir)))


@cli.command()
@click.argument("destination", type=click.Path(path_type=Path))
@click.option("--since", type=click.Path(path_type=Path), help="An earlier backup to share with.")
@_DATA_DIR
def backup(destination: Path, since: Path | None, data_dir: str | None) -> None:
    """Copy everything as it is now to a new folder, while the server runs or not."""
    from saytics_server.backup_command import make_backup  # noqa: PLC0415 - loads the engine
    from saytics_server.orders import BackupOrder  # noqa: PLC0415

    order = BackupOrder(str(destination.absolute()), str(since.absolute()) if since else None)
    _show(make_backup(config.load(data_dir=data_dir), order))


@cli.command()
@click.argument("source", type=click.Path(path_type=Path))
@_DATA_DIR
def restore(source: Path, data_dir: str | None) -> None:
    """Make a data directory from a backup, and check it."""
    from saytics_server.backup_command import restore_backup  # noqa: PLC0415 - loads the engine
    from saytics_server.check import findings  # noqa: PLC0415 - loads the engine

    settings = config.load(data_dir=data_dir)
    _show(restore_backup(settings, source.absolute()))
    _tell_findings(findings(settings))


@cli.command()
@click.option("--format", type=click.Choice(["parquet", "jsonl", "csv"]), default="parquet")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the files.")
@click.option("--from", "from_", help="First day or time of events, as in the API.")
@click.option("--to", help="Last day or time of events, as in the API.")
@click.option("--workspace", help="Only this one.")
@_DATA_DIR
def export(out: Path, data_dir: str | None, **asked: Any) -> None:
    """Write events, identify calls and persons to files; given again, go on where it ended."""
    from saytics_server.orders import ExportOrder  # noqa: PLC0415
    from saytics_server.transfer_command import make_export  # noqa: PLC0415 - loads the engine

    order = ExportOrder(str(out.absolute()), **asked)
    _show(make_export(config.load(data_dir=data_dir), order))


@cli.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--workspace", required=True, help="Where they go to.")
@_DATA_DIR
def import_(files: tuple[Path, ...], workspace: str, data_dir: str | None) -> None:
    """Send events and identify calls of exported JSONL files; what is there counts once."""
    from saytics_server.transfer_command import import_files  # noqa: PLC0415 - loads the engine

    told = import_files(config.load(data_dir=data_dir), files, workspace)
    _show(told)
    if told["rejected"]:
        sys.exit(1)


@cli.group()
def workspaces() -> None:
    """List and change workspaces."""


@workspaces.command("list")
@_DATA_DIR
def list_workspaces(data_dir: str | None) -> None:
    """Tell all workspaces and their limits."""
    from saytics_server.administration import ListWorkspaces  # noqa: PLC0415

    _tell(data_dir, ListWorkspaces())


@workspaces.command("change")
@click.argument("workspace")
@click.option("--plan", help="A preset of limits: free, starter, pro or enterprise.")
@click.option("--enforce-quota/--no-enforce-quota", default=None, help="Refuse over the quota.")
@click.option("--requests-per-minute", type=int, help="Limit per key; 0 for none.")
@click.option("--timezone", help="Such as Europe/Rome; drives every report's buckets.")
@click.option("--secret-only-event", multiple=True, help="An event only secret keys may send.")
@_DATA_DIR
def change_workspace(
    data_dir: str | None, secret_only_event: tuple[str, ...], **changes: Any
) -> None:
    """Change a workspace's limits, time zone or secret-only events."""
    from saytics_server.administration import ChangeWorkspace  # noqa: PLC0415

    names = list(secret_only_event) or None
    _tell(data_dir, ChangeWorkspace(secret_only_events=names, **changes))


@cli.group()
def keys() -> None:
    """List, create and revoke keys."""


@keys.command("list")
@click.argument("workspace")
@_DATA_DIR
def list_keys(data_dir: str | None, workspace: str) -> None:
    """Tell a workspace's keys; secret ones only by how they begin."""
    from saytics_server.administration import ListKeys  # noqa: PLC0415

    _tell(data_dir, ListKeys(workspace))


@keys.command("create")
@click.argument("workspace")
@click.option("--class", "key_class", type=click.Choice(["secret", "write"]), default="secret")
@click.option("--scope", type=click.Choice(["all", "send"]), default="all")
@click.option("--name", default="made by command")
@_DATA_DIR
def create_key(data_dir: str | None, **key: str) -> None:
    """Create a key and show it, this once."""
    from saytics_server.administration import CreateKey  # noqa: PLC0415

    _tell(data_dir, CreateKey(**key))


@keys.command("revoke")
@click.argument("workspace")
@click.argument("key_id", type=int)
@_DATA_DIR
def revoke_key(data_dir: str | None, workspace: str, key_id: int) -> None:
    """Revoke a key, from the very next request on."""
    from saytics_server.administration import RevokeKey  # noqa: PLC0415

    _tell(data_dir, RevokeKey(workspace, key_id))


def _tell_findings(findings: Iterable[str]) -> None:
    """Print one line per finding; end with code 1 if there was one."""
    count = 0
    for count, finding in enumerate(findings, 1):  # noqa: B007 - counted, too
        click.echo(finding)
    if count:
        sys.exit(1)
    click.echo("Nothing is wrong.")


def _tell(data_dir: str | None, command: Any) -> None:
    """Have a command carried out, by the running server if there is one; print the answer."""
    from saytics_server.commands import carry_out  # noqa: PLC0415

    _show(carry_out(config.load(data_dir=data_dir), command))


def _show(answer: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(answer)).decode())


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
    lines.append(f"  data directory  {parts.data_dir.path.absolute()}")
    first = parts.first
    if first is not None:
        lines += _first_lines(address, first)
    else:
        lines.append(f"  Data and keys of {_workspaces(parts.accounts)} are as you left them.")
    secrets = first is not None
    if not parts.accounts.has_accounts():
        secrets = True
        token = parts.accounts.setup_token()
        lines += [
            "",
            "Make your account (the link works once):",
            f"  {address}/setup?token={token}",
        ]
    if sys.stdout.isatty() or not secrets:
        click.echo("\n".join(lines))
        return
    # Output that is no terminal ends in some log: what is secret goes to a file instead.
    path = parts.data_dir.path / "first-keys"
    if first is not None:
        _write_private(path, "\n".join(lines) + "\n")
    click.echo(lines[0])
    click.echo(f"  First keys and the set-up link are in {path}, readable by you alone.")


def _first_lines(address: str, first: Any) -> list[str]:
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


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
