"""OpenAPI 3.1 description of the HTTP API, generated from the table of operations that serves it.

``msgspec`` makes the schemas of requests and responses; this module adds the paths. Frameworks that generate the whole
document (FastAPI, Litestar) bring their own request model and validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streamseg import __version__
from streamseg.web.operations import PATH_PARAMETERS, Operation
from streamseg.web.responses import ErrorResponse

_ERRORS: Final = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    403: "The request came from another site, or the role of the token does not allow it.",
    404: "The stream or object does not exist.",
    408: "The request did not arrive in time.",
    409: "There is nothing to undo.",
    410: "The frame has expired.",
    413: "The request is too large.",
    415: "The request is not JSON.",
    416: "The file has no such part.",
    421: "The Host header does not name this machine.",
    422: "The prompt or the settings are invalid.",
    429: "Too many wrong tokens.",
    431: "Address and headers are too large.",
    500: "Internal error of streamseg.",
    503: "Not available at the moment; retry.",
    504: "The operation timed out.",
}
_COMMON_ERRORS: Final = frozenset({400, 401, 403, 408, 413, 421, 429, 431, 500, 503})
_REFERENCE: Final = "#/components/schemas/{name}"


def openapi_document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the OpenAPI document."""
    types: list[type] = [ErrorResponse]
    for operation in operations:
        types += [kind for kind in (operation.response, operation.body) if isinstance(kind, type)]
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
            "description": "Watch and control a streamseg daemon. "
            "Errors have a code, a message that says how to fix them, and whether a retry may succeed.",
        },
        "paths": paths,
        "components": {
            "schemas": _without_tuples(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _without_tuples(schema: Any) -> Any:
    """Rewrite tuples of a single type as lists of fixed length, which more tools understand."""
    if isinstance(schema, list):
        return [_without_tuples(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rewritten = {name: _without_tuples(item) for name, item in schema.items()}
    items = rewritten.get("prefixItems")
    if items and all(item == items[0] for item in items):
        del rewritten["prefixItems"]
        rewritten["items"] = items[0]
    return rewritten


def _describe(operation: Operation, schemas: dict[type, dict[str, Any]]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.query.items()]
    responses: dict[str, Any] = {}
    for status in sorted(_COMMON_ERRORS | operation.errors):
        responses[str(status)] = {
            "description": _ERRORS[status],
            "content": {"application/json": {"schema": schemas[ErrorResponse]}},
        }
    if operation.response is None:
        responses["204"] = {"description": "Success; no content."}
    elif isinstance(operation.response, str):
        responses["200"] = {"description": operation.summary, "content": {operation.response: {}}}
    else:
        responses["200"] = {
            "description": operation.summary,
            "content": {"application/json": {"schema": schemas[operation.response]}},
        }
    description: dict[str, Any] = {
        "operationId": operation.handler.__name__,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses,
    }
    if operation.body is not None:
        description["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[operation.body]}},
        }
    return description
