"""The command line ``python -m skface.weights``."""

import argparse
import sys
from collections.abc import Sequence

from skface.exceptions import WeightsError
from skface.weights._fetch import fetch_weights
from skface.weights._registry import REGISTRY, WeightsEntry, weights_info


def _describe(entry: WeightsEntry) -> str:
    lines = [
        f"{entry.name} ({entry.kind})",
        f"  license:       {entry.license}",
        f"  source:        {entry.source}",
        f"  training data: {entry.training_data}",
    ]
    if entry.kind == "embedder":
        lines.append(f"  embedding:     {entry.embedding_dim} values; crop {entry.geometry}")
    for file in entry.files:
        size = "size unknown" if file.size is None else f"{file.size:,} bytes"
        lines += [
            f"  file:          {file.filename}, {size}",
            f"                 {file.url or 'comes with skface'}",
            f"                 SHA-256 {file.sha256 or 'unknown'}",
        ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, default=None
        Arguments after the name of the program. None means those of the process.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m skface.weights", description="Show and fetch pretrained weights."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list all registered weights, with license and source")
    info = commands.add_parser("info", help="show license, source, files and hashes")
    fetch = commands.add_parser("fetch", help="find or download weights, and verify them")
    for command in (info, fetch):
        command.add_argument("name", metavar="NAME", help="a name that 'list' shows")
    fetch.add_argument("--sha256", help="hash of weights for which the registry has none")
    args = parser.parse_args(argv)

    if args.command == "list":
        for entry in REGISTRY.values():
            print(f"{entry.name}\n  license: {entry.license}\n  source:  {entry.source}")
        return 0
    try:
        print(_describe(weights_info(args.name)))
        if args.command == "fetch":
            for path in fetch_weights(args.name, sha256=args.sha256):
                print(path)
    except (WeightsError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
