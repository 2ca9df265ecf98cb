"""FourierFT: D = scaling * Re(ifft2(S)), S (out, in) all zero but for n learned numbers.

"Parameter-Efficient Fine-Tuning with Discrete Fourier Transform",
https://arxiv.org/abs/2405.03003.

    fourierft_spectrum (n,)   S[u_f, v_f], at places that `random_loc_seed` and the weight's shape
                              tell (`plait.algebra.torch_permutation`)

With p and q for rows and columns, D[p, q] is the sum over f of
S_f cos(2 pi (p u_f / out + q v_f / in)) * scaling / (out * in), and so, by the cosine of a sum, a
product of (out, 2n) and (2n, in), summed with f ascending, cosines before sines.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from plait.algebra.adapter_tensors import AdapterTensors
from plait.algebra.delta import Delta, DeltaOfShape, Dense, Matrix
from plait.algebra.families.form import Form, Parts
from plait.algebra.families.module_tensors import USUAL_RANK, ModuleTensors
from plait.algebra.kernels.products import multiply
from plait.algebra.roots_of_unity import find_roots_of_unity
from plait.algebra.torch_permutation import draw_permutation
from plait.model.adapter_fields import ConfigFields, invalid_config

_SEED = 777
_SCALING = 150.0


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
    left = _waves(places // columns, out)  # (2n, out)
    right = _waves(places % columns, columns)  # (2n, in)
    left[0::2] *= spectrum[:, None]
    left[1::2] *= -spectrum[:, None]
    product: Matrix = multiply(left.T, right)
    product *= scaling / (out * columns)
    return product


def _waves(frequencies: NDArray[np.int64], length: int) -> Matrix:
    """Return cos and sin of 2 pi f p / length, by turns for each f, at all p < length."""
    cosines, sines = find_roots_of_unity(length)
    angles = frequencies[:, None] * np.arange(length) % length  # (n, length)
    waves = np.empty((2 * frequencies.size, length))
    waves[0::2], waves[1::2] = cosines[angles], sines[angles]
    return waves


FORM = Form(find_delta=find_delta, parts=frozenset({"fourierft_spectrum"}))
