"""The settings of a run, and the functions that read them.

Read `schema` first: every setting with its default, allowed values and meaning; then `loader`,
which reads settings from YAML, `--set` and JSON. May import errors, arrays, files and rng.
"""
