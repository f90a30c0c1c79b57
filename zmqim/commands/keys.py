"""Show or renew the key of the HTTP API.

Usage:
  zmqim keys (show | new) [--data DIR]

Options:
  --data DIR  The data folder of the cluster [default: zmqim-data].
  -h --help   Show this.

`show` prints the key, and only the key. `new` makes another one; a running cluster goes on with
the old key until it is started again. Backends send it in the header `token` or as
`Authorization: Bearer …`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from zmqim.errors import EXIT_OK, UsageError
from zmqim.node.folders import DataFolder, new_api_key, read_api_key
from zmqim.topology import API_KEY_VARIABLE


def run(arguments: Mapping[str, str]) -> int:
    """Prints or replaces the key in the data folder."""
    data = DataFolder(arguments["--data"])
    if not arguments["new"]:
        given = bool(os.environ.get(API_KEY_VARIABLE))
        print(read_api_key(None if given else data.api_key))
        return EXIT_OK
    if os.environ.get(API_KEY_VARIABLE):
        raise UsageError(
            f"{API_KEY_VARIABLE} is set, so the key in the data folder is not used.",
            hint="Unset it, or change it there.",
        )
    new_api_key(data)
    print(f"A new key is in {data.api_key}.", file=sys.stderr)
    if data.locked():
        print("The running cluster uses the old one until it is started again.", file=sys.stderr)
    return EXIT_OK
