"""Options for a method as the composition gives them: the table's defaults, and random numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plait.algebra.methods.options import ElementwiseOptions
from plait.model.recipe_methods import METHODS, Value

Uniforms = Callable[[int, int, int], NDArray[np.float64]]


def parameters_of(method: str, **given: Value) -> dict[str, Value]:
    """Return a method's parameters: what is given, else the defaults."""
    table = METHODS[method].parameters
    unknown = set(given) - set(table)
    if unknown:
        raise KeyError(f"{method} has no {unknown}")
    defaults = {name: one.default for name, one in table.items() if one.default is not None}
    return {**defaults, **given}


def options_for(method: str, *, placed: dict[str, Any] | None = None, **given: Value) -> Any:
    """Return the options of an elementwise or factorwise method; `placed` are the other fields."""
    return ElementwiseOptions(
        parameters=parameters_of(method, **given), uniforms=uniforms_of(11), **(placed or {})
    )


def uniforms_of(seed: int) -> Uniforms:
    """Return numbers by stream, of which a piece is the same as that piece of the whole."""

    def uniforms(stream: int, start: int, count: int) -> NDArray[np.float64]:
        return np.random.default_rng([seed, stream]).random(start + count)[start:]

    return uniforms
