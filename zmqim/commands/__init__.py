"""The commands of `zmqim`, one a file: the module's docstring is its docopt text, `run` does it."""
