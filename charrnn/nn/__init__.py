"""The network, its loss and its gradients, written by hand.

Read `cells` first, the three recurrences side by side; then `model`, the forward and the backward
pass of the network; then `gradcheck`, which compares the gradients with finite differences. May
import config and the layers below it; not data. Nothing here uses files, processes or the terminal.
"""
