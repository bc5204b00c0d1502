"""How processes and machines share a run.

`group` says what a run needs of the processes that train together, `local` has those of one machine
and `mpi` those that mpiexec started; `worker_count` decides how many, `pool` shares what is scored,
and `blas` gives every product one thread. May import nn, config and what is below them.
"""
