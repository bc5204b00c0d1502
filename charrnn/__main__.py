"""`python -m charrnn` runs the command `charrnn`."""

from charrnn.cli.app import main

main(prog_name="charrnn")
