"""What may be compiled; everything else about the package stands in setup.cfg (docs/adr/0008).

With ZMQIM_COMPILE=1 mypyc translates the packages that work for each message, from the same source,
and a C compiler builds them. A module with a class that is made with keywords (`class Head(Struct,
array_like=True)`) stays as it is: mypyc drops keywords in silence.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

from setuptools import Extension, setup

GROUPS = {
    "storage": ("raft", "storage", "chat", "store"),
    "router": ("ids.py", "bus", "gossip", "router"),
    "gateway": ("gateway", "gateway/listeners/client.py", "wkproto", "jsonrpc"),
}
"""Packages and modules that are translated together: within a group calls are cheapest. The groups
are built side by side."""
LEFT_OUT = ("__init__.py", "main.py", "plugin.py")
"""A plug-in may inherit from what `plugin.py` describes: from compiled protocols it could not."""
OPTIMIZATION = "1"
"""Of the C compiler. With more it takes twice as long, and nothing is measurably faster."""


def compiled() -> list[Extension]:
    """The extension modules."""
    try:
        from mypyc.build import mypycify
    except ImportError:
        raise SystemExit(
            "ZMQIM_COMPILE=1 needs mypy in this environment: pip install mypy"
        ) from None
    groups = {
        name: [str(path) for package in packages for path in modules_of(package)]
        for name, packages in GROUPS.items()
    }
    paths = [path for paths in groups.values() for path in paths]
    return mypycify(
        ["--config-file=setup.cfg", *paths],
        separate=[(paths, f"zmqim_{name}") for name, paths in groups.items()],
        opt_level=OPTIMIZATION,
        debug_level="0",
    )


def modules_of(package: str) -> list[Path]:
    """The modules of a package that mypyc translates rightly; a module stands for itself."""
    place = Path("zmqim") / package
    found = [place] if place.suffix else sorted(place.glob("*.py"))
    return [path for path in found if path.name not in LEFT_OUT and not _has_keywords(path)]


def _has_keywords(path: Path) -> bool:
    nodes = ast.walk(ast.parse(path.read_text()))
    return any(isinstance(node, ast.ClassDef) and node.keywords for node in nodes)


if __name__ == "__main__":
    setup(
        ext_modules=compiled() if os.environ.get("ZMQIM_COMPILE") == "1" else [],
        options={"build_ext": {"parallel": os.cpu_count()}},
    )
