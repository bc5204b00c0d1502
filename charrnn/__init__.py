"""Character-level recurrent language models in pure NumPy: train, sample and score."""

__version__ = "0.1.0"
