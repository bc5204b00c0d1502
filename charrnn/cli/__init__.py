"""The command line, with one file for each command. The rest of the package does not import it.

Read `app` first, which turns errors into messages and exit codes; then a command. `terminal` writes
to stdout and stderr, `progress` prints the messages of a training run, `options` has what
several commands share. The commands import NumPy inside their functions, so that `--help` is fast.
"""
