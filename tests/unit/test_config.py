"""Settings: from the environment or an option, converted, or one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from saytics_server import config
from saytics_server.config import SETTINGS, Config
from saytics_server.errors import Failure


def test_without_anything_the_defaults_hold():
    """A server with no settings listens on this machine alone and keeps a week of log."""
    assert config.load({}) == Config(
        listen="127.0.0.1:8640",
        data_dir=Path("saytics-data"),
        log_keep_days=7,
        log_keep_bytes=10 * 1024**3,
        free_bytes_min=256 * 1024**2,
    )


def test_every_setting_has_a_field_and_every_field_a_setting():
    """The table is complete, each name once."""
    assert sorted(setting.field for setting in SETTINGS) == sorted(Config.__struct_fields__)
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)
    assert all(setting.name.startswith("SAYTICS_") and setting.meaning for setting in SETTINGS)


def test_an_option_beats_the_environment_and_empty_text_is_not_set():
    """What stands on the command line is what its writer looks at."""
    environment = {"SAYTICS_LISTEN": "0.0.0.0:1", "SAYTICS_PUBLIC_URL": ""}
    assert config.load(environment).listen == "0.0.0.0:1"
    assert config.load(environment, listen="[::1]:2").listen == "[::1]:2"
    assert config.load(environment).public_url is None


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:8640", "127.0.0.1", 8640), ("[::1]:0", "::1", 0), ("name:65535", "name", 65535)],
)
def test_listen_has_a_host_and_a_port(listen: str, host: str, port: int):
    """Brackets around an IPv6 address belong to the notation."""
    loaded = config.load({}, listen=listen)
    assert (loaded.host, loaded.port) == (host, port)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SAYTICS_LISTEN", "8640"),
        ("SAYTICS_LISTEN", ":8640"),
        ("SAYTICS_LISTEN", "localhost:"),
        ("SAYTICS_LISTEN", "localhost:http"),
        ("SAYTICS_LISTEN", "localhost:65536"),
        ("SAYTICS_LISTEN", "localhost:-1"),
        ("SAYTICS_PUBLIC_URL", "example.com"),
        ("SAYTICS_PUBLIC_URL", "ftp://example.com"),
        ("SAYTICS_LOG_KEEP_DAYS", "a week"),
        ("SAYTICS_LOG_KEEP_DAYS", "-1"),
        ("SAYTICS_LOG_KEEP_DAYS", "nan"),
        ("SAYTICS_LOG_KEEP_BYTES", "10 GB"),
        ("SAYTICS_LOG_KEEP_BYTES", "-1"),
        ("SAYTICS_FREE_BYTES_MIN", "1.5"),
    ],
)
def test_a_setting_that_cannot_be_is_a_failure_that_names_it(name: str, text: str):
    """The operator learns which setting, what is wrong, and what it is for."""
    with pytest.raises(Failure, match=name):
        config.load({name: text})


def test_paths_and_addresses_are_made_definite():
    """A relative folder is meant from where the command was given."""
    loaded = config.load(
        {"SAYTICS_DATA_DIR": "some/where", "SAYTICS_PUBLIC_URL": "https://a.example/"}
    )
    assert loaded.data_dir == Path.cwd() / "some" / "where"
    assert loaded.public_url == "https://a.example"
    assert config.load({"SAYTICS_DATA_DIR": "~/x"}).data_dir == Path.home() / "x"
