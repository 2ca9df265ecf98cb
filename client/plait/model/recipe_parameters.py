"""The method of a recipe and its parameters: found by name, read from a document or from text."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plait.errors import InvalidInput
from plait.model.recipe_fields import RecipeFields, invalid_recipe, suggest
from plait.model.recipe_methods import METHODS, Method, Value
from plait.model.recipe_values import check_value, parse_value, show_value


def find_method(name: str) -> Method:
    """Return the row of a method.

    Raises:
        InvalidInput: there is none of that name; the message offers the nearest.
    """
    method = METHODS.get(name)
    if method is None:
        raise invalid_recipe(f"There is no method {name!r:.80}{suggest(name, METHODS)}")
    return method


def parse_parameters(document: object, method: str) -> dict[str, Value]:
    """Return the parameters of a document, each in its one form; none where it is None.

    Raises:
        InvalidInput: `invalid-recipe`, the method has no such parameter, or it has no such value.
    """
    fields = RecipeFields({} if document is None else document, where="The recipe's 'parameters'")
    known = find_method(method).parameters
    found: dict[str, Value] = {}
    for name in sorted(fields.names()):
        if name not in known:
            raise unknown_parameter(name, method)
        value = fields.get(name)
        try:
            found[name] = check_value(known[name], value)
        except ValueError as error:
            raise invalid_recipe(
                f"The parameter {name!r} of {method} is {show_value(value)}, and must be {error}."
            ) from error
    _verify_together(found, method)
    return found


def _verify_together(parameters: Mapping[str, Value], method: str) -> None:
    """Check what plait's own methods need of two parameters at once, where elements are dropped."""
    values = add_defaults(parameters, method)
    density = float(values.get("density", 1.0))
    if density == 1.0 or method not in {"della", "breadcrumbs"}:
        return
    if method == "della":
        epsilon = float(values["epsilon"])
        if not 0.0 < density - epsilon <= density + epsilon <= 1.0:
            raise invalid_recipe(
                f"The probabilities of della are density +- epsilon, here {density} +- {epsilon}, "
                "and must stay in (0, 1]: give a smaller epsilon."
            )
    elif density + float(values["gamma"]) > 1.0:
        raise invalid_recipe(
            f"breadcrumbs keeps the part {density} after dropping the largest {values['gamma']}: "
            "together they must be at most 1."
        )


def parse_options(options: Mapping[str, str], method: str) -> dict[str, Value]:
    """Return parameters that a person typed; raises as `parse_parameters` does."""
    known = find_method(method).parameters
    found: dict[str, Value] = {}
    for name, text in options.items():
        if name not in known:
            raise unknown_parameter(name, method)
        try:
            found[name] = parse_value(known[name], text)
        except ValueError as error:
            raise invalid_recipe(
                f"The parameter {name!r} of {method} is {text!r:.80}, and must be {error}."
            ) from error
    return found


def add_defaults(parameters: Mapping[str, Value], method: str) -> dict[str, Value]:
    """Return the parameters with the default of each that is not given and has one."""
    known = find_method(method).parameters
    values = {name: parameters.get(name, known[name].default) for name in known}
    return {name: value for name, value in values.items() if value is not None}


def verify_count(count: int, method: str, *, most: int) -> None:
    """Check that a method takes so many inputs, of which `most` are allowed for any method.

    Raises:
        InvalidInput: it takes more or fewer.
    """
    definition = find_method(method)
    largest = most if definition.most_inputs is None else definition.most_inputs
    if not count:
        raise invalid_recipe("The recipe has no inputs: name at least one adapter.")
    if count < definition.least_inputs or count > largest:
        bound = f"at most {largest}" if count > largest else f"at least {definition.least_inputs}"
        inputs = "1 input" if count == 1 else f"{count} inputs"
        raise invalid_recipe(f"The recipe has {inputs}, and {method} takes {bound}.")


def unknown_parameter(name: str, method: str) -> InvalidInput:
    """Return the error that a method has no such parameter, with the nearest that it has."""
    known: Collection[str] = find_method(method).parameters
    hint = suggest(name, known) if known else ": it takes none."
    return invalid_recipe(f"The method {method} has no parameter {name!r:.80}{hint}")
