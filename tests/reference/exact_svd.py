# ruff: noqa: N803, N806 - matrices have the names of the papers
"""The best approximation of a weight by a product, from `docs/merge-definitions.md` alone.

Slow and plain: PiSSA and KaSA are defined by it. Nothing of plait is used.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def product(X: Array, Y: Array) -> Array:
    """X Y, each sum over k ascending from +0.0."""
    acc = np.zeros((X.shape[0], Y.shape[1]))
    for k in range(X.shape[1]):
        acc = acc + X[:, k : k + 1] * Y[k]
    return acc


def dot(x: Array, y: Array, lanes: int) -> float:
    """The sum of x y in lanes that are folded by halves."""
    acc = np.zeros(lanes)
    for start in range(0, x.size, lanes):
        part = x[start : start + lanes] * y[start : start + lanes]
        acc[: part.size] += part
    while acc.size > 1:
        acc = acc[: acc.size // 2] + acc[acc.size // 2 :]
    return float(acc[0])


class Side:
    """Vectors of one length that become reflectors, one after the other."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.reflectors: list[tuple[Array, float]] = []
        self.R: list[Array] = []

    def add(self, vector: Array) -> None:
        j, x = len(self.reflectors), vector.copy()
        for v, h in self.reflectors:
            x = reflect(v, h, x)
        column = x[: j + 1].copy()
        x[:j] = 0.0
        square = dot(x, x, 128)
        norm, head, h = np.sqrt(square), x[j], 0.0
        if square == 0.0:
            column[j] = 0.0
        elif head >= 0.0:
            column[j], x[j], h = -norm, head + norm, norm * (norm + head)
        else:
            column[j], x[j], h = norm, head - norm, norm * (norm - head)
        self.R.append(column)
        self.reflectors.append((x, float(h)))

    def turn(self, vector: Array) -> Array:
        """Q times a vector, which is filled up with zeros."""
        y = np.zeros(self.length)
        y[: min(vector.size, self.length)] = vector[: self.length]
        for v, h in reversed(self.reflectors):
            y = reflect(v, h, y)
        return y


def reflect(v: Array, h: float, y: Array) -> Array:
    return y if h == 0.0 else y - (dot(v, y, 128) / h) * v


def units(count: int) -> Side:
    """The side of unit vectors."""
    side = Side(count)
    side.R = [np.eye(count)[p, : p + 1] for p in range(count)]
    return side


def factored(vectors: Array) -> Side:
    side = Side(vectors.shape[1])
    for vector in vectors:
        side.add(vector)
    return side


def approximate(W: Array, k: int) -> tuple[Array, Array]:
    """B (out, k) and A (k, in) of the best approximation of rank k."""
    rows, columns = W.shape
    block, smaller = k + max(8, k // 2), min(W.shape)
    if smaller > 64 and 6 * block < smaller:
        left, right = search(W, block)
    elif rows >= columns:
        left, right = factored(W.T), units(columns)
    else:
        left, right = units(rows), factored(W)
    return cut(left, right, k)


def search(W: Array, b: int) -> tuple[Side, Side]:
    """The Krylov space of six blocks."""
    rows, columns = W.shape
    left, right = Side(rows), Side(columns)
    source = signs(b * columns).reshape(b, columns)
    for block in range(6):
        for vector in product(source, W.T):
            left.add(vector)
        Q = np.array([left.turn(np.eye(6 * b)[block * b + i]) for i in range(b)])
        source = product(Q, W)
        for vector in source:
            right.add(vector)
    left.R = units(6 * b).R
    return left, right


def cut(left: Side, right: Side, k: int) -> tuple[Array, Array]:
    count, width = len(left.R), -(-len(left.R) // 8) * 8
    scale, W = 0.0, np.zeros((count, width))
    for p in range(count):
        scale += float(np.sqrt(ascending(left.R[p])) * np.sqrt(ascending(right.R[p])))
        for c in range(p + 1):
            W[c, : p + 1] += left.R[p] * right.R[p][c]
    z = 2.0**-100 * (scale * scale)
    V = np.zeros((count, width))
    V[:, :count] = np.eye(count)
    jacobi(W, V, z)
    squares = [dot(w, w, 8) for w in W]
    sigma = np.array([np.sqrt(square) if square > z else 0.0 for square in squares])
    order = sorted(range(count), key=lambda p: (-sigma[p], p))
    B, A = np.zeros((left.length, k)), np.zeros((k, right.length))
    for r, p in enumerate(order[:k]):
        if sigma[p] == 0.0:
            continue
        root = np.sqrt(sigma[p])
        B[:, r], A[r] = left.turn(W[p] / root), right.turn(V[p] * root)
        if A[r, np.argmax(np.abs(A[r]))] < 0.0:
            B[:, r], A[r] = -B[:, r], -A[r]
    return B, A


def ascending(x: Array) -> float:
    total = 0.0
    for value in x.tolist():
        total += value * value
    return total


def jacobi(W: Array, V: Array, z: float) -> None:
    """Rotate the rows of W, and those of V with them, until they are orthogonal."""
    squares = [dot(w, w, 8) for w in W]
    for _ in range(60):
        rotations = 0
        for p in range(len(W) - 1):
            for q in range(p + 1, len(W)):
                if squares[p] < squares[q]:
                    for M in (W, V):
                        M[[p, q]] = M[[q, p]]
                    squares[p], squares[q] = squares[q], squares[p]
                ab = dot(W[p], W[q], 8) if squares[q] > z else 0.0
                if squares[q] > z and abs(ab) > 2.0**-46 * float(
                    np.sqrt(squares[p]) * np.sqrt(squares[q])
                ):
                    rotations += 1
                    rotate(W, V, (p, q), (squares[q] - squares[p]) / (2.0 * ab))
                    squares[p], squares[q] = dot(W[p], W[p], 8), dot(W[q], W[q], 8)
        if not rotations:
            return
    raise AssertionError("no end after 60 sweeps")


def rotate(W: Array, V: Array, pair: tuple[int, int], zeta: float) -> None:
    p, q = pair
    root = float(np.sqrt(1.0 + zeta * zeta))
    t = 1.0 / (zeta + root) if zeta >= 0.0 else -1.0 / (root - zeta)
    c = 1.0 / float(np.sqrt(1.0 + t * t))
    s = c * t
    for M in (W, V):
        M[p], M[q] = c * M[p] - s * M[q], s * M[p] + c * M[q]


def signs(count: int) -> Array:
    """-1 or 1 by the top bits of words 0 and 2 of Philox4x32-10's blocks."""
    text = b'{"format":"plait.uniforms/1","name":"plait.dense_svd/1","seed":"0","stream":0}'
    key_0, key_1, high_0, high_1 = np.frombuffer(hashlib.sha256(text).digest()[:16], "<u4").tolist()
    drawn: list[float] = []
    for block in range(-(-count // 2)):
        c, k = [block % 2**32, block >> 32, high_0, high_1], [key_0, key_1]
        for _ in range(10):
            one, two = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [two >> 32 ^ c[1] ^ k[0], two % 2**32, one >> 32 ^ c[3] ^ k[1], one % 2**32]
            k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
        drawn += [1.0 if word >> 31 else -1.0 for word in (c[0], c[2])]
    return np.array(drawn[:count])
