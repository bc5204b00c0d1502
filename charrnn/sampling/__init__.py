"""Text out of a model.

Read `sampler` first: temperature, top k, top p, and the loop that draws a character and feeds it
back in; `single_step` does the same for one text faster, `record_selection` keeps the records that
are wanted. May import data, nn and what is below them; not evaluation.
"""
