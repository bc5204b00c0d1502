"""The page with a network inside: it writes, and shades what it reads, in any browser.

`page` writes the file; `inspection` and `unit_features` find the units that follow features of its
text; `network.js` is the network. May import evaluation and what is below it.
"""
