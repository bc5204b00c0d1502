"""How cores and machines share a run.

`worker_count` decides how many share the rows of a window, `team` are the helpers that do,
`workers` lets them do forward and backward, `mpi` are processes that meet through MPI, and `blas`
gives every product one thread. May import nn, config and what is below them.
"""
