"""Training and scoring with several processes, on one machine or on several.

`group` is the interface of the processes that train together. `local` starts them on one machine,
and `mpi` connects those that mpiexec started. `worker_count` chooses their number, `pool` has the
workers that score, and `blas` limits the threads of a matrix product. The package may import nn,
config and the layers below them.
"""
