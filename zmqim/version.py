"""Which zmqim this is: its version, and whether its hot packages are compiled (docs/adr/0008)."""

from __future__ import annotations

from importlib.util import find_spec

from zmqim import __version__


def is_compiled() -> bool:
    """Does what runs for each message come from an extension module?"""
    spec = find_spec("zmqim.raft.core")
    return spec is not None and not str(spec.origin).endswith(".py")


def version_text() -> str:
    """For people, such as ``0.1.0, compiled``."""
    return f"{__version__}, compiled" if is_compiled() else __version__
