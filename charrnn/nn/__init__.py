"""The mathematics: the network, its loss and its gradients, written by hand.

Read `cells` first, the three recurrences side by side; then `model`, the whole network forward and
backward; then `gradcheck`, which compares the gradients with finite differences. May import config
and the layers below it; not data. Nothing here uses files, processes or the terminal.
"""
