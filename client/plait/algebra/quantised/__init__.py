"""Quantised weights, dequantised to the same bits on every machine.

Pure: bytes in, bytes out. `docs/merge-definitions.md` has the definition.
"""
