"""The JSON schema of recipes, made from the table of methods: for editors and other programs.

It is published as `docs/recipe.schema.json`. What it accepts may still be refused: it cannot tell
that two inputs are the same version, that ranges of layers overlap or that a pattern is none.
What the parser takes, it takes too.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from plait.model.address import LONGEST_PART
from plait.model.finite_numbers import LARGEST_NUMBER
from plait.model.layer_ranges import RANGE_PATTERN
from plait.model.module_pattern import LONGEST_PLAIN_PATTERN
from plait.model.recipe import FORMAT, MOST_INPUTS, Allowance, Dtype, SavedModules
from plait.model.recipe_fields import LONGEST_TEXT
from plait.model.recipe_methods import METHODS, Method, MethodKind, Parameter, Unit
from plait.model.recipe_values import LARGEST_COUNT, LARGEST_SEED

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_Schema = dict[str, Any]
_NUMBER: _Schema = {"type": "number", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
_DIGEST: _Schema = {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"}
_PART = f"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{LONGEST_PART - 1}}}"


def recipe_schema() -> _Schema:
    """Return the schema of `plait.recipe/1`, as JSON Schema 2020-12."""
    return {
        "$schema": DIALECT,
        "title": FORMAT,
        "description": "A composition of adapters, which gives the same bytes wherever it runs.",
        "type": "object",
        "required": ["format", "method", "inputs"],
        "additionalProperties": False,
        "properties": {
            "format": {"const": FORMAT},
            "method": {
                "description": "How the inputs are combined.",
                "oneOf": [
                    {"const": name, "description": method.summary}
                    for name, method in METHODS.items()
                ],
            },
            "parameters": {
                "description": "Of the method; what is not given has its default.",
                "type": ["object", "null"],
            },
            "inputs": {
                "description": "In the order in which they are added up.",
                "type": "array",
                "minItems": 1,
                "maxItems": MOST_INPUTS,
                "items": _describe_input(),
            },
            "dtype": _describe_words(Dtype, Dtype.AUTO, "What the tensors are rounded to."),
            "saved_modules": _describe_words(
                SavedModules, SavedModules.REFUSE, "What becomes of whole tensors that differ."
            ),
            "base": {
                "description": "The fingerprint of the base whose weights were used.",
                **_DIGEST,
                "default": None,
            },
            "allow": {
                "description": "What passes that is refused otherwise.",
                "type": ["array", "null"],
                "uniqueItems": True,
                "items": {"enum": [item.value for item in Allowance]},
                "default": [],
            },
        },
        "allOf": [_describe_method(name, method) for name, method in METHODS.items()],
    }


def write_recipe_schema() -> str:
    """Return the text of `docs/recipe.schema.json`."""
    return json.dumps(recipe_schema(), indent=2) + "\n"


def _describe_input() -> _Schema:
    return {
        "type": "object",
        "required": ["adapter"],
        "additionalProperties": False,
        "properties": {
            "adapter": {
                "description": "The repository, NAMESPACE/NAME.",
                "type": "string",
                "pattern": f"^{_PART}/{_PART}$",
            },
            "revision": {
                "description": "A branch, a tag, or a commit; the default branch where it is not "
                "given. It is resolved when the recipe runs.",
                "type": ["string", "null"],
                "minLength": 1,
                "maxLength": LONGEST_TEXT,
                "default": None,
            },
            "commit": {
                "description": "The version itself, which `revision` was resolved to.",
                **_DIGEST,
                "default": None,
            },
            "weight": {"description": "In the whole model.", **_NUMBER, "default": 1.0},
            "modules": {
                "description": "Weights by patterns over modules, as in PEFT's rank_pattern; the "
                "longest that matches counts.",
                "type": ["object", "null"],
                "propertyNames": {"minLength": 1, "maxLength": LONGEST_PLAIN_PATTERN},
                "additionalProperties": _NUMBER,
                "default": {},
            },
            "layers": {
                "description": "Weights by layers, as 3, 0-3 or 16-, where no pattern matches.",
                "type": ["object", "null"],
                "propertyNames": {"pattern": f"^{RANGE_PATTERN}$"},
                "additionalProperties": _NUMBER,
                "default": {},
            },
        },
    }


def _describe_method(name: str, method: Method) -> _Schema:
    """Return what a method asks of parameters and inputs, as a condition on its name."""
    parameters: _Schema = {
        "properties": {key: _describe_parameter(held) for key, held in method.parameters.items()},
        "additionalProperties": False,
    }
    if {"rank", "energy"} <= method.parameters.keys():
        # The type, since whatever is no object passes `required`, and null is allowed.
        parameters["not"] = {"type": "object", "required": ["rank", "energy"]}
    inputs: _Schema = {"minItems": method.least_inputs}
    if method.most_inputs is not None:
        inputs["maxItems"] = method.most_inputs
    then: _Schema = {"properties": {"parameters": parameters, "inputs": inputs}}
    if method.kind is MethodKind.CAST:
        then["properties"]["dtype"] = {"not": {"const": Dtype.AUTO.value}}
        then["required"] = ["dtype"]
    elif method.kind is MethodKind.STACK:
        then["properties"]["dtype"] = {"const": Dtype.AUTO.value}
        then["properties"]["saved_modules"] = {"const": SavedModules.REFUSE.value}
    return {"if": {"properties": {"method": {"const": name}}, "required": ["method"]}, "then": then}


def _describe_parameter(parameter: Parameter) -> _Schema:
    kinds: dict[Unit, _Schema] = {
        Unit.COUNT: {"type": "integer", "minimum": 1, "maximum": LARGEST_COUNT},
        Unit.SEED: {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED},
        Unit.FRACTION: {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        Unit.SHARE: {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        Unit.NUMBER: _NUMBER,
        Unit.FLAG: {"type": "boolean"},
        Unit.CHOICE: {"enum": list(parameter.choices)},
    }
    schema = {"description": parameter.summary, **kinds[parameter.unit]}
    return schema if parameter.default is None else {**schema, "default": parameter.default}


def _describe_words(words: type[StrEnum], default: StrEnum, summary: str) -> _Schema:
    return {
        "description": summary,
        "enum": [word.value for word in words],
        "default": default.value,
    }
