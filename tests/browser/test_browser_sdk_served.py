"""The browser script as the server hands it out: small, cacheable, the same as the package's."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from pathlib import Path

import httpx
import pytest

from serving import Serving

# The contract's limit.
SCRIPT_BYTES_MAX = 4_000
PACKAGE = Path(__file__).parents[2] / "sdks/browser"


def test_the_script_weighs_at_most_four_kilobytes(server: Serving):
    """What a browser receives for /saytics.js is at most 4 kB, as it is on the wire."""
    with server.client.stream("GET", "/saytics.js") as answer:
        sent = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert len(sent) <= SCRIPT_BYTES_MAX


def test_the_script_comes_with_what_caches_and_other_sites_need(server: Serving):
    """Type, freshness, ETag, and the right to be loaded from any site; no cookie."""
    answer = server.client.get("/saytics.js")
    assert answer.status_code == 200
    expected = {
        "access-control-allow-origin": "*",
        "cache-control": "public, max-age=3600, stale-while-revalidate=86400",
        "content-type": "text/javascript; charset=utf-8",
        "cross-origin-resource-policy": "cross-origin",
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
    }
    assert {name: answer.headers.get(name) for name in expected} == expected
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("encoding", ["gzip", "identity", "br;q=1, gzip;q=0.5"])
def test_a_known_script_is_not_sent_again(server: Serving, encoding: str):
    """Whatever encoding a cache holds, its ETag is answered with 304 and no body."""
    headers = {"Accept-Encoding": encoding}
    first = server.client.get("/saytics.js", headers=headers)
    known = {**headers, "If-None-Match": f'"other", {first.headers["etag"]}'}
    again = server.client.get("/saytics.js", headers=known)
    other = server.client.get("/saytics.js", headers={**headers, "If-None-Match": '"other"'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert (other.status_code, other.content) == (200, first.content)


def test_a_client_without_gzip_gets_the_same_script(server: Serving):
    """The plain script is the compressed one, decompressed."""
    plain = server.client.get("/saytics.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == server.client.get("/saytics.js").content


def test_the_script_names_no_host_but_the_default(server: Serving):
    """No address of anybody else is in it."""
    addresses = re.findall(r"https?://[^\"'`\s]+", server.client.get("/saytics.js").text)
    assert addresses == ["http://127.0.0.1:8640"]


def test_the_package_holds_the_served_script(server: Serving):
    """/sdk/browser.tgz brings sources, types, documents, and the very script of /saytics.js."""
    answer: httpx.Response = server.client.get("/sdk/browser.tgz")
    assert answer.headers["content-type"] == "application/gzip"
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(answer.content))) as package:
        names = {member.name.removeprefix("package/") for member in package}
        script = package.extractfile("package/dist/saytics.js")
        assert script is not None
        assert script.read() == server.client.get("/saytics.js").content
    assert names >= {
        "README.md",
        "CHANGELOG.md",
        "src/index.js",
        "dist/index.cjs",
        "types/index.d.ts",
    }


def test_the_version_is_one(server: Serving):
    """What events say about their library is the version of the package."""
    version = json.loads((PACKAGE / "package.json").read_text())["version"]
    assert f"'{version}'" in (PACKAGE / "src/version.js").read_text()
    assert f'"{version}"' in server.client.get("/saytics.js").text
