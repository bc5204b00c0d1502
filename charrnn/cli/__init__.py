"""What a person types and sees: one file a command, and nothing imports it.

Read `app` first, where errors become messages and exit codes; then a command. `terminal` writes to
stdout and stderr, `progress` shows a run, `shade` and `checkpoint_facts` print results.
NumPy and all that needs it is imported inside the commands, so that `--help` is instant.
"""
