"""Loops in numba, where every sum has one order: plain arrays in, plain arrays out.

The definitions that callers may rely on stand in the modules of `plait.algebra` that call these.
A kernel uses + - * / sqrt abs and comparisons of float64 alone, whose results IEEE 754 fixes, so
threads, vector width, compiler and instruction set do not show in its bits.

Importing a module from here imports numba, which takes a third of a second: commands that do not
compute must not.
"""
