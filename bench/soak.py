"""A daemon over time: does it leak, and does it lose objects or events when things fail?

    python bench/soak.py leaks --minutes 15
    python bench/soak.py leaks --minutes 60 --model nano --rate 5
    python bench/soak.py leaks --minutes 9 --model sam2.1_hiera_t --image-size 512 --compile on --start-timeout 600
    python bench/soak.py faults --minutes 3 --seed 1

``leaks`` (soak_leaks.py) compresses time: churn without a pause, at the highest rate that the machine allows. A sam2
config gets random weights. ``faults`` (soak_faults.py) kills, freezes and disconnects by a seed, and compares with an
undisturbed run. The exit status is 1 if a limit was broken.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from hardware import write_results
from prepared import LIMIT_S, daemon_engine
from random_model import model_settings
from soak_daemon import soak_daemon
from soak_faults import compare_with_faults
from soak_leaks import STEADY, LeakRecord, look_for_leaks


def main() -> None:
    args = arguments()
    # With a time limit from outside, the table is still written and the daemon stopped.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    faults = leaks(args) if args.run == "leaks" else disturbances(args)
    for fault in faults:
        print(f"FAILED: {fault}")
    sys.exit(bool(faults))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    runs = parser.add_subparsers(dest="run", required=True)
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--model", default="color", help="`color` has no network: the pipeline is the bottleneck")
    both.add_argument("--image-size", type=int)
    both.add_argument("--compile", choices=("auto", "on", "off"), default="auto")
    both.add_argument("--threads", type=int, help="CPU threads of torch")
    both.add_argument(
        "--start-timeout", type=float, default=120.0, help="seconds until it is ready, compilation included"
    )
    both.add_argument("--prepare-timeout", type=float, default=LIMIT_S, help="most seconds until it is prepared")
    both.add_argument("--json", type=Path, help="write all figures here")
    both.add_argument("--markdown", type=Path, help="write the table here")
    leak = runs.add_parser("leaks", parents=[both], help="memory and descriptors under churn")
    leak.add_argument("--minutes", type=float, default=60)
    leak.add_argument("--rate", type=int, default=100, help="frames per second of each camera")
    leak.add_argument("--size", default="320x180", help="of the cameras' pictures")
    fault = runs.add_parser("faults", parents=[both], help="identity and events through failures")
    fault.add_argument("--minutes", type=float, default=3)
    fault.add_argument("--undisturbed", type=float, default=1, help="minutes of the run without failures before it")
    fault.add_argument("--seed", type=int, default=1)
    fault.add_argument("--rate", type=int, default=10, help="frames per second of each camera")
    return parser.parse_args()


def leaks(args: argparse.Namespace) -> list[str]:
    """Run the leak run; return what is wrong."""
    record = LeakRecord()
    source = f"scene:simple?size={args.size}&fps={args.rate}&cache=20&format=yuv420p"
    stream = {"source": source, "prompts": [{"object": 1, "points": [[0.26, 0.31]], "coords": "normalized"}]}
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            model = model_settings(
                args.model, Path(folder), image_size=args.image_size, compile=args.compile, threads=args.threads
            )
            settings = {"model": model, "streams": dict.fromkeys(STEADY, stream)}
            with soak_daemon(settings, Path(folder), args.start_timeout) as daemon:
                record.engine = daemon_engine(daemon.masks, args.prepare_timeout)
                look_for_leaks(daemon, record, args.minutes, source, args.json)
    finally:
        text = record.table()
        print(text)
        write_results(text, asdict(record), args)
    return record.faults()


def disturbances(args: argparse.Namespace) -> list[str]:
    """Run the fault run; return what is wrong."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        model = model_settings(
            args.model, Path(folder), image_size=args.image_size, compile=args.compile, threads=args.threads
        )
        outcome = compare_with_faults(model, Path(folder), args)
    text = outcome.table()
    print(text)
    write_results(text, asdict(outcome), args)
    return outcome.faults()


if __name__ == "__main__":
    main()
