"""What families of adapters do to a weight, straight from their definitions and slowly."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def cayley(skew: Matrix) -> Matrix:
    """Return (I - Q)(I + Q)^-1 by the library's inverse."""
    identity = np.eye(len(skew))
    return (identity - skew) @ np.linalg.inv(identity + skew)


def block_diagonal(blocks: Matrix) -> Matrix:
    """Return one matrix with the blocks on its diagonal."""
    count, size, _ = blocks.shape
    whole = np.zeros((count, size, count, size))
    for index, block in enumerate(blocks):
        whole[index, :, index] = block
    return whole.reshape(count * size, count * size)


def butterfly(stored: Matrix) -> Matrix:
    """Return R_m ... R_1 of BOFT's factors (m, blocks, b, b)."""
    factors, blocks, size, _ = stored.shape
    rotation = np.eye(blocks * size)
    for index in range(factors):
        skew = (stored[index] - stored[index].transpose(0, 2, 1)) / 2
        core = block_diagonal(np.stack([cayley(block) for block in skew]))
        order = np.arange(blocks * size).reshape(-1, 2**index, 2, max(size // 2, 1))
        if index:  # in each run, half blocks of even number first
            order = order.reshape(len(order), -1, 2, order.shape[3]).transpose(0, 2, 1, 3)
        mixing = np.eye(blocks * size)[order.reshape(-1)]
        rotation = mixing @ core @ mixing.T @ rotation
    return rotation


def waves(
    spectrum: Matrix, places: NDArray[np.int64], shape: tuple[int, int], scaling: float
) -> Matrix:
    """Return scaling * Re(ifft2(S)) by the library."""
    dense = np.zeros(shape)
    dense[places // shape[1], places % shape[1]] = spectrum
    real: Matrix = np.fft.ifft2(dense).real
    return real * scaling


def kernel_of(core: Matrix, out_factor: Matrix, in_factor: Matrix) -> Matrix:
    """Return K[p, q, k, l] = sum_ij T[i, j, k, l] A[i, p] B[j, q]."""
    kernel: Matrix = np.einsum("ijkl,ip,jq->pqkl", core, out_factor, in_factor)
    return kernel


def circulant(kernel: Matrix) -> Matrix:
    """Return the block whose row p is the kernel, p places to the right."""
    return np.stack([np.roll(kernel, place) for place in range(len(kernel))])
