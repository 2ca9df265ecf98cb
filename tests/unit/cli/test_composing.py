"""What the commands that compose say of their options."""

import argparse
import re

import pytest

from plait.cli.composing import add_parameters
from plait.model.recipe_methods import METHODS


def tell(option: str, *methods: str) -> str:
    """Return the help of an option, on one line."""
    parser = argparse.ArgumentParser()
    add_parameters(parser, methods=methods)
    (found,) = [action for action in parser._actions if option in action.option_strings]
    return re.sub(r"\s+", " ", str(found.help))


def test_default_that_methods_share_is_told() -> None:
    assert tell("--seed", "dare", "della").endswith(" (0)")


@pytest.mark.parametrize("methods", [("della", "mergekit_della"), ("mergekit_della", "della")])
def test_default_that_differs_by_method_is_not_told_as_if_it_held_for_all(
    methods: tuple[str, str],
) -> None:
    defaults = {METHODS[method].parameters["epsilon"].default for method in methods}
    assert len(defaults) == 2
    assert tell("--epsilon", *methods).endswith("(each method has its own default)")


def test_parameter_without_a_default_is_told_without_one() -> None:
    assert not tell("--rank", "sum", "average").endswith(")")
