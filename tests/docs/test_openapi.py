"""The OpenAPI document is one, tells the truth about the code, and its examples fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import jsonschema_rs
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31
from starlette.routing import Route

from saytics_server import collect
from saytics_server.accounts.model import BATCH_MAX_EVENTS
from saytics_server.api import Api
from saytics_server.errors import ERRORS
from saytics_server.openapi import document
from saytics_server.questions import Questions

NOTHING = cast(Any, None)
DOCUMENT = document("http://127.0.0.1:8640")

# Codes that no operation of the API answers: those of the pages' forms and of the router, and what
# is said to a client that is gone.
NOT_OF_THE_API = {
    "client_gone",
    "invalid_csrf_token",
    "invalid_login",
    "invalid_setup_token",
    "login_throttled",
    "method_not_allowed",
}


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def _codes(operation: dict[str, Any]) -> Iterator[str]:
    for status, response in operation["responses"].items():
        if status != "200":
            schema = response["content"]["application/json"]["schema"]
            yield from schema["properties"]["error"]["properties"]["code"]["enum"]


def _examples() -> list[Any]:
    found = []
    for path, method, operation in _operations():
        parts = [("request", operation.get("requestBody", {}))]
        parts += list(operation["responses"].items())
        for name, part in parts:
            content = part.get("content", {}).get("application/json", {})
            if "example" in content:
                found.append(pytest.param(content, id=f"{method} {path} {name}"))
    return found


def test_the_document_is_openapi_31() -> None:
    """The document fulfils the schema of OpenAPI 3.1 documents."""
    jsonschema_rs.validate(OPENAPI_31, DOCUMENT)


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_schema_is_a_json_schema(name: str) -> None:
    """Each schema is one, and every reference in it leads somewhere."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(schema)


@pytest.mark.parametrize("content", _examples())
def test_every_example_fits_its_schema(content: dict[str, Any]) -> None:
    """Each example of a body or an answer fulfils the schema it stands beside."""
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(schema).validate(content["example"])


def test_every_address_of_the_api_is_in_the_document() -> None:
    """The operations of the document are the routes of the API, the sending ones among them."""
    routes = Api(NOTHING, Questions(NOTHING), NOTHING, lambda: None).routes()
    served = {
        (route.path.replace("{user_id:path}", "{id}"), method)
        for route in routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert {(path, "POST") for path in collect.PATHS} <= served
    assert {(path, method) for path, method, _ in _operations()} == served


def test_every_error_code_has_its_place() -> None:
    """Each code of the table is one that an operation answers, or one of the pages."""
    of_operations = {code for _, _, operation in _operations() for code in _codes(operation)}
    assert of_operations == set(ERRORS) - NOT_OF_THE_API
    assert DOCUMENT["components"]["schemas"]["ErrorCode"]["enum"] == list(ERRORS)


def test_every_error_code_stands_under_its_status() -> None:
    """Each code is described under the status of the table."""
    for path, method, operation in _operations():
        for status, response in operation["responses"].items():
            if status != "200":
                schema = response["content"]["application/json"]["schema"]
                for code in schema["properties"]["error"]["properties"]["code"]["enum"]:
                    assert ERRORS[code].status == int(status), (path, method, code)


def test_limits_in_words_are_those_of_the_code() -> None:
    """The size of a batch and of a body in the document are the real ones."""
    batch = DOCUMENT["components"]["schemas"]["Batch"]["properties"]["events"]
    assert batch["maxItems"] == BATCH_MAX_EVENTS
    send = DOCUMENT["paths"]["/v1/events"]["post"]
    encoding = next(p for p in send["parameters"] if p["name"] == "Content-Encoding")
    assert f"{collect.BODY_BYTES_MAX // 1024**2} MiB" in encoding["description"]


def test_the_document_names_the_server_it_came_from() -> None:
    """The document's server is the address that was asked."""
    assert document("https://events.example")["servers"] == [{"url": "https://events.example"}]
