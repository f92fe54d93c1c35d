"""The settings as JSON Schema, for editors that validate and complete YAML."""

from __future__ import annotations

from typing import Any

import msgspec

from streamseg.config.load import EXTENSION
from streamseg.config.schema import Config
from streamseg.protocol.topics import OWN_STREAM_ID

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file after ``${NAME}`` variables are replaced."""
    schema = msgspec.json.schema(Config)
    root = schema["$defs"]["Config"]
    root["patternProperties"] = {f"^{EXTENSION}": {"description": "Ignored; a place for YAML anchors."}}
    root["properties"]["streams"]["propertyNames"] = {"pattern": f"^{OWN_STREAM_ID.pattern}$"}
    return {"$schema": DIALECT, "title": "Configuration of streamseg", **schema}
