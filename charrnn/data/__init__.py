"""Text to ids to batches.

In the order of the data: `reader` decodes bytes, `vocabulary` numbers the characters, `corpus`
cuts a text into a training and a validation part, `batches` makes windows of it. `ids`, `points`,
`store`, `line_hashes` and `cache` let a text be of any size. May import config and what is below
it; not nn.
"""
