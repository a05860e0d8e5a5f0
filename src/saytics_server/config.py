"""Every setting, in one table: environment variable, option, default, unit and what it decides.

Read once at start. Nothing else in the server looks at the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from saytics_server.errors import Failure

DEFAULT_LISTEN = "127.0.0.1:8640"
DEFAULT_DATA_DIR = "saytics-data"


class Setting(msgspec.Struct, frozen=True):
    """One row of the table. `name` is the environment variable; `field` that of `Config`."""

    name: str
    field: str
    meaning: str


SETTINGS = (
    Setting("SAYTICS_LISTEN", "listen", "HOST:PORT to listen on."),
    Setting("SAYTICS_DATA_DIR", "data_dir", "Folder that holds everything the server keeps."),
    Setting("SAYTICS_STORE_URL", "store_url", "ClickHouse to use instead of the embedded store."),
    Setting("SAYTICS_PUBLIC_URL", "public_url", "Address people use; decides links and cookies."),
    Setting("SAYTICS_TRUSTED_PROXIES", "trusted_proxies", "Proxies whose X-Forwarded-* counts."),
    Setting("SAYTICS_LOG_KEEP_DAYS", "log_keep_days", "Days the log keeps behind the store."),
    Setting("SAYTICS_LOG_KEEP_BYTES", "log_keep_bytes", "Bytes the log keeps behind the store."),
    Setting("SAYTICS_FREE_BYTES_MIN", "free_bytes_min", "Free disk bytes events must leave."),
    Setting("SAYTICS_METRICS_TOKEN", "metrics_token", "Bearer token that may read /metrics."),
    Setting("SAYTICS_BOOTSTRAP_SECRET_KEY", "bootstrap_secret_key", "First secret key."),
    Setting("SAYTICS_BOOTSTRAP_WRITE_KEY", "bootstrap_write_key", "First write key."),
    Setting("SAYTICS_BOOTSTRAP_EMAIL", "bootstrap_email", "E-mail of the first account."),
    Setting("SAYTICS_BOOTSTRAP_PASSWORD", "bootstrap_password", "Password of that account."),
    Setting("SAYTICS_BOOTSTRAP_TIMEZONE", "bootstrap_timezone", "Time zone, such as Europe/Rome."),
    Setting("SAYTICS_BOOTSTRAP_WEEK_START", "bootstrap_week_start", "First weekday, as a name."),
)


class Config(msgspec.Struct, frozen=True):
    """The settings of one server."""

    listen: str = DEFAULT_LISTEN
    data_dir: Path = Path(DEFAULT_DATA_DIR)
    store_url: str | None = None
    public_url: str | None = None
    trusted_proxies: str = ""
    log_keep_days: float = 7
    log_keep_bytes: int = 10 * 1024**3
    free_bytes_min: int = 256 * 1024**2
    metrics_token: str | None = None
    bootstrap_secret_key: str | None = None
    bootstrap_write_key: str | None = None
    bootstrap_email: str | None = None
    bootstrap_password: str | None = None
    bootstrap_timezone: str | None = None
    bootstrap_week_start: str | None = None

    @property
    def host(self) -> str:
        """The host part of `listen`, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of `listen`."""
        return int(self.listen.rpartition(":")[2])


def load(environment: Mapping[str, str] | None = None, **options: Any) -> Config:
    """Return the settings: an option given beats the environment, which beats the default.

    Raises Failure that names the setting and what it takes.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        text = options.get(setting.field)
        if text is None:
            text = environment.get(setting.name) or None
        if text is None:
            continue
        try:
            values[setting.field] = _CONVERT.get(setting.field, str)(text)
        except ValueError as error:
            raise Failure(
                "reading the settings", f"{setting.name}: {error}", setting.meaning
            ) from None
    return Config(**values)


def _listen(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ValueError("expected HOST:PORT")
    return text


def _bytes(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("expected a number of bytes")
    return value


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("expected a URL that starts with http:// or https://")
    return text.rstrip("/")


def _days(text: str) -> float:
    value = float(text)
    if not value >= 0:
        raise ValueError("expected a number of days")
    return value


_CONVERT: dict[str, Any] = {
    "listen": _listen,
    "data_dir": lambda text: Path(text).expanduser().absolute(),
    "public_url": _url,
    "log_keep_days": _days,
    "log_keep_bytes": _bytes,
    "free_bytes_min": _bytes,
}
