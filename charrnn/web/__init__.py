"""The page about a text: HTML, CSS and JavaScript, and the Python that fills it.

`page` writes it, `inspection` computes its numbers, `unit_features` finds what hidden units follow.
May import evaluation and what is below it.
"""
