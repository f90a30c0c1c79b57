"""What the framework hands to each handler, by the name of its parameter (`app.make_app`)."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Dependency

from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.directory import Directory
from zmqim.gateway.plugin import GatewayPort

Given = Annotated[Asking, Dependency(skip_validation=True)]
"""The listener's `Asking`."""
GivenDirectory = Annotated[Directory, Dependency(skip_validation=True)]
"""The conversations behind it."""
GivenPort = Annotated[GatewayPort, Dependency(skip_validation=True)]
"""The gateway's port."""
