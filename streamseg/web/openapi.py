"""The description of the HTTP interface (OpenAPI 3.1), made of the same table that serves it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streamseg import __version__
from streamseg.web.operations import PATH_PARAMETERS, Operation
from streamseg.web.responses import ErrorResponse

_REFUSALS: Final = {
    400: "The request makes no sense.",
    401: "The token is missing or wrong.",
    403: "Another site asked.",
    404: "There is no such stream or object.",
    408: "The request did not come whole in time.",
    409: "There is nothing to undo.",
    410: "The frame is gone.",
    413: "The request is too long.",
    415: "The request is not JSON.",
    421: "The name in Host is not this machine's.",
    422: "The prompt does not fit.",
    500: "A fault of streamseg.",
    503: "Not now; try again.",
    504: "It was not done in time.",
}
_ALWAYS: Final = frozenset({400, 401, 403, 408, 413, 421, 500, 503})
_REFERENCE: Final = "#/components/schemas/{name}"


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document."""
    types: list[type] = [ErrorResponse]
    for operation in operations:
        types += [kind for kind in (operation.answer, operation.body) if isinstance(kind, type)]
    unique = list(dict.fromkeys(types))
    references, components = msgspec.json.schema_components(unique, ref_template=_REFERENCE)
    schemas = dict(zip(unique, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "streamseg",
            "version": __version__,
            "description": "Watch and control a streamseg daemon. Errors have a code, the mend, and whether to retry.",
        },
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _plain(schema: Any) -> Any:
    """Return the schema with tuples of one type as lists of fixed length, which more tools understand."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _plain(item) for name, item in schema.items()}
    items = plain.get("prefixItems")
    if items and all(item == items[0] for item in items):
        del plain["prefixItems"]
        plain["items"] = items[0]
    return plain


def _describe(operation: Operation, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    responses: dict[str, Any] = {}
    for status in sorted(_ALWAYS | operation.refusals):
        responses[str(status)] = {
            "description": _REFUSALS[status],
            "content": {"application/json": {"schema": schemas[ErrorResponse]}},
        }
    if operation.answer is None:
        responses["204"] = {"description": "Done."}
    elif isinstance(operation.answer, str):
        responses["200"] = {"description": operation.summary, "content": {operation.answer: {}}}
    else:
        responses["200"] = {
            "description": operation.summary,
            "content": {"application/json": {"schema": schemas[operation.answer]}},
        }
    described: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[operation.body]}},
        }
    return described
