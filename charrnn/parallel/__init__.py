"""How cores and machines share a run.

`threads` decides how many share the rows of a window, `team` are the helpers that do, `workers`
lets them do forward and backward, `ranks` are processes that meet through MPI, and `blas` gives
every product one thread. May import nn, config and what is below them.
"""
