"""What the framework hands to each handler, by the name of its parameter (`app.make_app`)."""

from __future__ import annotations

from typing import Annotated

from litestar.params import Dependency

from zmqim.gateway.http.asking import Asking
from zmqim.gateway.http.directory import Directory
from zmqim.gateway.http.finished import Finished
from zmqim.gateway.http.senders import Senders
from zmqim.gateway.plugin import GatewayPort

Given = Annotated[Asking, Dependency(skip_validation=True)]
"""The listener's `Asking`."""
GivenDirectory = Annotated[Directory, Dependency(skip_validation=True)]
"""The conversations behind it."""
GivenFinished = Annotated[Finished, Dependency(skip_validation=True)]
"""What was shown before."""
GivenSenders = Annotated[Senders, Dependency(skip_validation=True)]
"""Who may send."""
GivenPort = Annotated[GatewayPort, Dependency(skip_validation=True)]
"""The gateway's port."""
