"""The methods of composition: one pure function a file, with its formula and its paper.

A file is named as its method, and its function by the method's kind in `plait.model.METHODS`:

    COMBINATION   coefficients(gram, weights, parameters) -> list[float]
    ELEMENTWISE   combine(deltas, weights, options) -> Matrix
    FACTORWISE    combine_factors(inputs, weights, options) -> (B, A)

- A file is imported when its method is asked for, so that nobody waits for the others' kernels.
- Bits of every outcome are the same on every machine: fp64, + - * / sqrt and comparisons only, in
  the order of the inputs. No function changes an array that it was given.
- Parameters were checked against the table before; what only the deltas tell is checked here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from plait.algebra.delta import LowRank, Matrix
from plait.algebra.methods.options import ElementwiseOptions, Stack
from plait.errors import Internal
from plait.model.recipe_methods import METHODS, MethodKind, Value

_FUNCTIONS = {
    MethodKind.COMBINATION: "coefficients",
    MethodKind.ELEMENTWISE: "combine",
    MethodKind.FACTORWISE: "combine_factors",
}
_FILES = {"resize": "sum", "convert": "sum"}
"""Of methods whose arithmetic is another's; every other method has a file of its own name."""


class Combination(Protocol):
    """Finds the coefficients of a linear combination."""

    def __call__(
        self,
        gram: Callable[[], Matrix],
        weights: Sequence[float],
        parameters: Mapping[str, Value],
    ) -> list[float]:
        """Return c, one for each input: the outcome is c_1 D_1 + c_2 D_2 + ...

        `gram` returns the inner products <D_i, D_j> (k, k), and costs nothing unless it is called.

        Raises:
            InvalidInput: the inputs have no such combination; `details["inputs"]` has the indices
                of those that are to blame, for the caller to name.
        """
        ...


class Elementwise(Protocol):
    """Combines dense deltas element by element."""

    def __call__(
        self, deltas: Stack, weights: Sequence[float], options: ElementwiseOptions
    ) -> Matrix:
        """Return the outcome (out, in) of deltas (k, out, in), as a new array.

        Raises:
            InvalidInput: parameters do not fit each other.
        """
        ...


class Factorwise(Protocol):
    """Combines the factors themselves, which is not the same as combining the deltas."""

    def __call__(
        self, inputs: Sequence[LowRank], weights: Sequence[float], options: ElementwiseOptions
    ) -> tuple[Matrix, Matrix]:
        """Return B (out, r) and A (r, in) of the outcome B A, as new arrays."""
        ...


def find_method(name: str) -> Callable[..., Any]:
    """Return the function of a method of whatever kind.

    Raises:
        Internal: the method has no arithmetic here, as a cast or a stack.
    """
    kind = METHODS[name].kind
    if kind not in _FUNCTIONS:
        raise Internal("internal", f"The method {name} has no arithmetic: it is a {kind}.")
    module = import_module(f"{__name__}.{_FILES.get(name, name)}")
    return cast("Callable[..., Any]", getattr(module, _FUNCTIONS[kind]))


def find_combination(name: str) -> Combination:
    """Return a method of kind COMBINATION."""
    return cast("Combination", find_method(name))


def find_elementwise(name: str) -> Elementwise:
    """Return a method of kind ELEMENTWISE."""
    return cast("Elementwise", find_method(name))


def find_factorwise(name: str) -> Factorwise:
    """Return a method of kind FACTORWISE."""
    return cast("Factorwise", find_method(name))
