"""From a config to a checkpoint.

Read `trainer` first: one update; then `optimizers` and `schedules`. `loop` makes the updates,
validates and saves by way of `outputs`; `session` is a whole run; `resume` and `warm_start` begin
from a checkpoint; `presets` and `new_config` find a config for a text. May import everything but
web, plots, api and cli.
"""
