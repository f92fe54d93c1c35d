"""``streamseg config``: check a file, print the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Check a configuration file, or print the schema.", no_args_is_help=True)


@app.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file.")]) -> None:
    """Check a configuration file without starting anything. Exits with 0 if it is valid, else with 2 and all problems.

    [bold]Example[/bold]

      streamseg config check configs/demo.yaml
    """
    from streamseg.config.load import load_config
    from streamseg.errors import ModelError
    from streamseg.models.registry import resolve
    from streamseg.sources.address import shown_address

    config = load_config(file)
    print(f"{file} is valid")
    for name, stream in config.streams.items():
        count = len(stream.prompts)
        print(f"  stream {name}: {shown_address(stream.source)}, {count} object{'' if count == 1 else 's'} to track")
    print(f"  model {config.model.name} on {config.model.device}")
    print(f"  masks at {', '.join(config.publish.endpoints)}")
    try:
        resolve(config.model)
    except ModelError as error:
        print(f"  note: {error}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors that validate and complete YAML.

    [bold]Example[/bold]

      streamseg config schema > streamseg.schema.json
    """
    from streamseg.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
