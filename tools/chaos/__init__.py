"""Chaos on real processes, judged by the checks of the simulator: `python -m tools.chaos --help`.

`network` joins hosts that are network namespaces, `cluster` runs `zmqim up` on them, `load` is the
process of clients that writes down what it does and sees, `nemeses` and `damage` make trouble from
a seed, `replicas` reads the stores at the end, `verdict` asks `zmqim.sim.checks`, `report` tells
people and machines, `run` puts them together.
"""
