"""Around the cluster's processes: how one starts, is watched, answers `zmqim status` and stops.

`supervisor.py` runs in `zmqim up`; `main.py` in every process that it spawns.
"""
