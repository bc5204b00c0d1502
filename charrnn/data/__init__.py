"""Text to ids to batches.

In the order of the data: `reader` decodes bytes, `vocabulary` numbers the characters, `corpus`
cuts a text into a training and a validation part, `batches` makes windows of it. `ids` and `cache`
let a text be of any size; `line_hashes` finds lines and their copies. May import config and what is
below it; not nn.
"""
