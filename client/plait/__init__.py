"""plait: push, pull, branch, tag, diff and compose adapter weights.

Importing this package loads only the standard library: anything heavier is imported where it is
used, so that scripts and the command line start quickly.
"""

__version__ = "0.1.0"
