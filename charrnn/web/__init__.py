"""The page about a text: HTML, CSS and JavaScript, and the Python code that fills them in.

`page` writes it, `inspection` computes its numbers, `unit_features` finds the features that hidden
units correlate with. May import evaluation and what is below it.
"""
