"""The load generator: `zmqim bench` (schedules and kept results lie in tools/bench/).

`plan` says what is offered, `connection` is one client that is only as much client as a load needs,
`worker` a process of connections, `sampling` what the cluster's processes use meanwhile, `report`
the figures, `run` puts them together.
"""
