"""Generates text from a model.

Read `drawing` first: temperature, top-k and top-p; then `sampler`: the loop that draws a character
and feeds it back in. `single_step` is a faster loop for one text; `record_selection` filters
records. May import data, nn and what is below them; not evaluation.
"""
