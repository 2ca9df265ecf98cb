"""The mathematics of adapters, in pure numpy.

Arrays in, arrays or values out: no I/O, no logging, no clock, no global random state, and no
input is changed in place. Random generators come as arguments. May import `plait.model` and
`plait.errors`, and nothing else of plait; needs the extra `algebra`.

Where bits must be the same on every machine, a module says so in its first lines and keeps to
elementwise operations and sums of a fixed order in double precision: BLAS and LAPACK give other
bits for other thread counts. Figures for people may use both.
"""
