import subprocess
import sys
from inspect import getdoc, getmodule

import pytest

from plait.algebra.methods import find_method
from plait.errors import Internal
from plait.model.recipe_methods import METHODS, MethodKind

WITHOUT_ARITHMETIC = {MethodKind.CAST, MethodKind.STACK}
WITH_ARITHMETIC = sorted(
    name for name, method in METHODS.items() if method.kind not in WITHOUT_ARITHMETIC
)


@pytest.mark.parametrize("name", WITH_ARITHMETIC)
def test_every_method_of_the_table_has_a_function_with_its_formula(name: str) -> None:
    function = find_method(name)
    assert getdoc(function)
    formula = getdoc(getmodule(function))
    assert formula is not None
    assert len(formula.splitlines()) >= 3


@pytest.mark.parametrize("name", ["cast", "stack"])
def test_a_method_without_arithmetic_is_refused(name: str) -> None:
    with pytest.raises(Internal, match="no arithmetic"):
        find_method(name)


def test_kernels_are_imported_only_with_a_method_that_needs_them() -> None:
    program = """
import sys
from plait.algebra.methods import find_method
for name in ("concat", "sum", "average", "negate", "slerp", "karcher"):
    find_method(name)
assert "numba" not in sys.modules
find_method("ties")
assert "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
