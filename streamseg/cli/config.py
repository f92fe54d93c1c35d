"""``streamseg config``: check a file, print the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check a configuration file, or print what it may hold.", no_args_is_help=True)


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file.")]) -> None:
    """Check a file without starting anything: exit code 0 if it is right, 2 with all that is wrong.

    [bold]Example[/bold]

      streamseg config check configs/demo.yaml
    """
    from streamseg.common.redact import redact
    from streamseg.config.load import load_config
    from streamseg.errors import ModelError
    from streamseg.models.registry import resolve

    config = load_config(file)
    print(f"{file} is right")
    for name, stream in config.streams.items():
        count = len(stream.prompts)
        print(f"  stream {name}: {redact(stream.source)}, {count} object{'' if count == 1 else 's'} to follow")
    print(f"  model {config.model.name} on {config.model.device}")
    print(f"  masks at {', '.join(config.publish.endpoints)}")
    try:
        resolve(config.model)
    except ModelError as error:
        print(f"  note: {error}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a configuration file, for editors that check and complete YAML.

    [bold]Example[/bold]

      streamseg config schema > streamseg.schema.json
    """
    from streamseg.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
