"""``streamseg config``: check a file, print the schema."""

from __future__ import annotations

import ctypes
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
        print(f"  warning: {error}")
    if (problem := _cuda_problem(config.model.device)) is not None:
        print(f"  warning: model.device is {config.model.device}, but {problem}")


def _cuda_problem(device: str) -> str | None:
    """Why a CUDA device cannot be used here; None if it can. Asks the driver, since importing torch takes seconds."""
    if not device.startswith("cuda"):
        return None
    count = ctypes.c_int(0)
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError):
        return "this machine has no NVIDIA driver: use auto or cpu"
    if failed or not count.value:
        return "the NVIDIA driver finds no GPU here: use auto or cpu"
    number = int(device.partition(":")[2] or 0)
    return None if number < count.value else f"there are only {count.value} GPUs: use cuda:0 to cuda:{count.value - 1}"


@app.command()
def schema() -> None:
    """Print the JSON Schema of configuration files, for editors that validate and complete YAML.

    [bold]Example[/bold]

      streamseg config schema > streamseg.schema.json
    """
    from streamseg.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))
