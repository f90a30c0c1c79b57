"""The whole cluster in one thread and in virtual time: the same cores, a simulated world.

A seed decides everything: delays, losses, cuts, kills, what clients do. The same seed gives the
same fingerprint, so whatever goes wrong can be replayed: ``python -m zmqim.sim --first SEED``.
"""
