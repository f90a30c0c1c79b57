"""Where things are: key → partition → storages (placement) and partition → router (rendezvous).

Pure functions of the topology and of who is alive; every process computes the same.
"""
