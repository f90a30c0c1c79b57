"""Where things are: key → partition → storages (placement) and partition → router.

Pure functions of the topology and of who is alive; every process computes the same.
"""
