"""FourierFT: D = scaling * Re(ifft2(S)), S (out, in) all zero but for n learned numbers.

"Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
https://arxiv.org/abs/2405.03003.

    fourierft_spectrum (n,)   S[u_f, v_f], at places that `random_loc_seed` and the weight's shape
                              tell (`plait.algebra.torch_permutation`)

With p and q for rows and columns, D[p, q] is the sum over f of
S_f cos(2 pi (p u_f / out + q v_f / in)) * scaling / (out * in). The waves along the columns are
added to their rows u_f in the order of f, and the rows transformed (`kernels.fourier`); or columns
and rows change parts, where `in` has the smaller sum of prime factors.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, Dense, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import USUAL_RANK, ModuleTensors
from plait.algebra.kernels.fourier import find_prime_factors, transform_columns
from plait.algebra.roots_of_unity import find_roots_of_unity
from plait.algebra.torch_permutation import draw_permutation
from plait.model.adapter_fields import ConfigFields, invalid_config

_SEED = 777
_SCALING = 150.0
_BLOCK = 16
"""Columns at once: their transforms stay in a cache."""


def find_delta(adapter: AdapterTensors, module: str, parts: Parts, _: Parts) -> Delta:
    """Return what the module's tensors do to its weight.

    Raises:
        InvalidInput: `shape-mismatch` or `tensor-not-finite`, or the configuration is wrong.
    """
    tensors = ModuleTensors(adapter, module, parts)
    spectrum = tensors.read("fourierft_spectrum", ndim=1)
    fields = ConfigFields(adapter.config.values)
    seed = adapter.config.values.get("random_loc_seed", _SEED)
    if type(seed) is not int:
        raise invalid_config("must have a whole number as 'random_loc_seed'")
    scaling = fields.number("scaling", _SCALING)

    def give(shape: tuple[int, int]) -> Dense:
        if spectrum.size > shape[0] * shape[1]:
            raise tensors.error(f"a weight of {shape} has no place for {spectrum.size} frequencies")
        return Dense(
            compute=partial(_transform, spectrum, shape, seed=seed, scaling=scaling),
            shape=shape,
            rank=USUAL_RANK,
            placement=tensors.placement,
        )

    return DeltaOfShape(given=give, rank=USUAL_RANK, placement=tensors.placement)


def _transform(spectrum: Matrix, shape: tuple[int, int], *, seed: int, scaling: float) -> Matrix:
    out, columns = shape
    places = draw_permutation(out * columns, seed=seed, count=spectrum.size)
    along, across = places // columns, places % columns
    scaled = spectrum * (scaling / (out * columns))
    if sum(find_prime_factors(columns)) < sum(find_prime_factors(out)):
        return np.ascontiguousarray(_sum_waves(scaled, (across, along), (columns, out)).T)
    return _sum_waves(scaled, (along, across), shape)


def _sum_waves(
    spectrum: Matrix, places: tuple[NDArray[np.int64], NDArray[np.int64]], shape: tuple[int, int]
) -> Matrix:
    """Return the sum over f of S_f cos(2 pi (p u_f / rows + q v_f / columns)), some q at a time."""
    rows, columns = shape
    tables = find_roots_of_unity(rows)
    cosines, sines = find_roots_of_unity(columns)
    waves = np.empty(shape)
    for left in range(0, columns, _BLOCK):
        some = np.arange(left, min(left + _BLOCK, columns))
        angles = places[1][:, None] * some % columns  # (n, some)
        values = np.zeros((2, rows, some.size))
        np.add.at(values[0], places[0], spectrum[:, None] * cosines[angles])
        np.add.at(values[1], places[0], spectrum[:, None] * sines[angles])
        waves[:, some] = transform_columns(values, *tables)[0]
    return waves


FORM = Form(find_delta=find_delta, parts=frozenset({"fourierft_spectrum"}))
