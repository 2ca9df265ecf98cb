"""Documents of recipes, and Hypothesis strategies for them, for tests of several folders."""

from typing import Any

from hypothesis import strategies as st

from plait.model.finite_numbers import LARGEST_NUMBER
from plait.model.ids import CommitId, hash_bytes
from plait.model.recipe import FORMAT, Allowance, Dtype, SavedModules
from plait.model.recipe_methods import METHODS, MethodKind, Parameter, Unit
from plait.model.recipe_values import LARGEST_COUNT, LARGEST_SEED

ONE, TWO = (CommitId(hash_bytes(name)) for name in (b"one", b"two"))
PATTERNS = (
    "q_proj",
    "self_attn.v_proj",
    r"layers\.[0-3]\..*_proj",
    "model.layers.10.mlp.up_proj",
    "é",
)
LAYERS = (("0-3", "4", "5-9", "12-"), ("0", "1-"), ("7",))


def document(**changes: Any) -> dict[str, Any]:
    """Return a recipe of two inputs, with other fields where they are given."""
    return {
        "format": FORMAT,
        "method": "sum",
        "inputs": [{"adapter": "team/sql"}, {"adapter": "team/chat"}],
        **changes,
    }


def one_input(**fields: Any) -> dict[str, Any]:
    """Return a recipe of one input with these fields."""
    return document(inputs=[{"adapter": "team/sql", **fields}])


numbers = st.floats(-LARGEST_NUMBER, LARGEST_NUMBER) | st.integers(-(10**18), 10**18)


def values(parameter: Parameter) -> st.SearchStrategy[Any]:
    """What a document may give to a parameter."""
    units: dict[Unit, st.SearchStrategy[Any]] = {
        Unit.COUNT: st.integers(1, LARGEST_COUNT),
        Unit.SEED: st.integers(0, LARGEST_SEED),
        Unit.FRACTION: st.floats(0, 1, exclude_min=True) | st.just(1),
        Unit.SHARE: st.floats(0, 1, exclude_max=True) | st.just(0),
        Unit.NUMBER: numbers,
        Unit.FLAG: st.booleans(),
        Unit.CHOICE: st.sampled_from(parameter.choices or ("",)),
    }
    return units[parameter.unit]


@st.composite
def recipe_inputs(draw: st.DrawFn, number: int, *, is_plain: bool) -> dict[str, Any]:
    """The `number`-th input; each is another version."""
    held: dict[str, Any] = {"adapter": f"team/adapter{number}"}
    if draw(st.booleans()):
        held["revision"] = draw(st.sampled_from(["main", "v1.0", "feature/x~2", None]))
    if draw(st.booleans()):
        held["commit"] = hash_bytes(b"%d" % number)
    if not is_plain:
        held["weight"] = draw(numbers.filter(bool))
        held["modules"] = draw(st.dictionaries(st.sampled_from(PATTERNS), numbers))
        ranges = draw(st.sampled_from(LAYERS))
        held["layers"] = draw(st.dictionaries(st.sampled_from(ranges), numbers))
    return held


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of recipes that break no rule."""
    name = draw(st.sampled_from(sorted(METHODS)))
    method = METHODS[name]
    is_plain = method.kind in {MethodKind.CAST, MethodKind.STACK}
    most = method.most_inputs or method.least_inputs + 2
    count = draw(st.integers(method.least_inputs, most))
    chosen = draw(st.sets(st.sampled_from(sorted(method.parameters)))) if method.parameters else ()
    if {"rank", "energy"} <= set(chosen):
        chosen = set(chosen) - {"energy"}
    held: dict[str, Any] = {
        "format": FORMAT,
        "method": name,
        "parameters": {key: draw(values(method.parameters[key])) for key in sorted(chosen)},
        "inputs": [draw(recipe_inputs(n, is_plain=is_plain)) for n in range(count)],
        "base": draw(st.sampled_from([None, hash_bytes(b"base")])),
        "allow": draw(st.lists(st.sampled_from([a.value for a in Allowance]), unique=True)),
    }
    if name in {"della", "breadcrumbs"} and draw(st.booleans()):
        held["parameters"]["density"] = 0.5  # which the others' defaults go with
        held["parameters"] = {
            key: value
            for key, value in held["parameters"].items()
            if key not in {"epsilon", "gamma"}
        }
    elif name in {"della", "breadcrumbs"}:
        held["parameters"]["density"] = 1  # which all others go with
    if method.kind is not MethodKind.STACK:
        dtypes = [d.value for d in Dtype if method.kind is not MethodKind.CAST or d != "auto"]
        held["dtype"] = draw(st.sampled_from(dtypes))
        held["saved_modules"] = draw(st.sampled_from([s.value for s in SavedModules]))
    return held
