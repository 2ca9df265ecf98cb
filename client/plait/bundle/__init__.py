"""Bundles: versions of a repository with their weights in one file, for sites without a network.

What a bundle is, docs/bundles.md says. One use case a file: `create`, `verify` and `apply`. A file
that comes from elsewhere is hostile: nothing in it is believed before it is checked, and nothing is
ever unpacked by the names that it holds.
"""
