"""What the settings of a run are, and how they are read.

Read `schema` first: every setting with its default, what is allowed, and what it means; then
`loader`, which reads them from YAML, `--set` and JSON. May import errors, arrays, files and rng.
"""
