"""Turns text into ids, and ids into batches.

`download` fetches a missing text, `reader` decodes its bytes, `vocabulary` numbers its characters
and `ids` encodes it; the ids of a large text are a file in the `cache`. `corpus` splits them into a
training and a validation part, by the hashes of `line_hashes`, and `batches` cuts windows from a
part. `text_files` lists the texts of folders and `text_profile` describes them, for `charrnn new`;
`characters` prints characters in messages.
This package may import config and the modules below config, but not nn.
"""
