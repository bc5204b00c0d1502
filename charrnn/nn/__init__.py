"""The mathematics: the network, its loss and its gradients, written by hand.

Read `cells` first, the three recurrences side by side; then `model`, the whole network forward and
backward; then `gradcheck`, which proves it. May import config and what is below it; not data, and
nothing here knows of files, processes or the terminal.
"""
