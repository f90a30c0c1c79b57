"""Which tests stay together when several workers share them (pytest-xdist)."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

ONE_BY_ONE = "tests/simulation/"
"""They share nothing, and a file of them takes minutes: one worker, while the rest have no work."""


class ByFile(LoadFileScheduling):
    """A file goes to one worker, as its tests may share a cluster; some tests are dealt singly."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(ONE_BY_ONE) else super()._split_scope(nodeid)
