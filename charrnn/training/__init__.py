"""Training: from a config to a checkpoint.

Read `trainer` first, which makes one update, then `optimizers` and `schedules`. `loop` makes all
updates of a run, validates, and saves through `outputs`. `session` runs a training from start to
end. `resume` and `warm_start` start from a checkpoint. `presets` and `new_config` choose a config
for a text; `gradcheck_config` checks the gradients of a config's network. This package may import
all others except web, plots, api and cli.
"""
