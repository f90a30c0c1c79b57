"""Between processes: envelope, typed messages, links, and (only in `sockets`) ZeroMQ."""
