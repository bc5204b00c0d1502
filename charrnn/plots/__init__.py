"""Loss curves.

`history` reads them from checkpoints, `terminal` draws them as characters, `figure` as a picture.
May import checkpoint and what is below it.
"""
