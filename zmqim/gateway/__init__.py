"""The gateway: client connections and their sessions in front of the cluster.

`plugin` is what a listener sees, `listeners/` and `http/` are the listeners, `shell` runs the
loop, `core` and the modules beside it decide: `connecting`, `sending`, `delivery`, `pushing`.
"""
