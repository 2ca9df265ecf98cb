"""The caps on size that keep every file readable in one sitting, and the names that say nothing.

- A module has at most 500 lines, a function at most 60, and at most 6 parameters.
- No module is called utils, helpers or the like: such a name attracts whatever has no home.

Also runs as a script, without pytest: `python tests/quality/test_sizes.py`, for `make lint`.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Migrations are left out: Alembic wants each of them in one function, however long the schema.
FOLDERS = ("client", "registry", "tests", "examples", "benchmarks", "tools")

MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 6
EMPTY_NAMES = frozenset(
    {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
)


def find_modules() -> Iterator[Path]:
    """Yield every Python file that the caps hold for."""
    for folder in FOLDERS:
        yield from sorted((ROOT / folder).rglob("*.py"))


def count_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count named parameters, less the `self` or `cls` of a method."""
    positional = [*function.args.posonlyargs, *function.args.args]
    if positional and positional[0].arg in {"self", "cls"}:
        positional = positional[1:]
    return len(positional) + len(function.args.kwonlyargs)


def is_gpu_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Tell whether Triton compiles it, whose kernels take pointers and sizes and no dataclass."""
    return any(ast.unparse(item) == "triton.jit" for item in function.decorator_list)


def find_excesses(name: str, source: str) -> Iterator[str]:
    """Yield one line for each cap that a module breaks, with its place and what to do."""
    lines = source.count("\n") + 1 - source.endswith("\n")
    if lines > MAX_MODULE_LINES:
        yield f"{name}: {lines} lines (cap {MAX_MODULE_LINES}): split it by use case"
    if Path(name).stem in EMPTY_NAMES or Path(name).parent.name in EMPTY_NAMES:
        yield f"{name}: the name says nothing: name it for what it holds"
    for node in ast.walk(ast.parse(source, filename=name)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        place = f"{name}:{node.lineno}: {node.name}"
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{place}: {length} lines (cap {MAX_FUNCTION_LINES}): extract its steps"
        parameters = count_parameters(node)
        if parameters > MAX_PARAMETERS and not is_gpu_kernel(node):
            yield f"{place}: {parameters} parameters (cap {MAX_PARAMETERS}): pass a dataclass"


def find_all_excesses() -> list[str]:
    """Return what every module of the project breaks."""
    return [
        excess
        for path in find_modules()
        for excess in find_excesses(str(path.relative_to(ROOT)), path.read_text("utf-8"))
    ]


def test_every_module_keeps_the_size_caps() -> None:
    assert find_all_excesses() == []


def test_module_at_the_cap_passes_and_one_line_more_fails() -> None:
    assert list(find_excesses("a.py", "x = 1\n" * MAX_MODULE_LINES)) == []
    (excess,) = find_excesses("a.py", "x = 1\n" * (MAX_MODULE_LINES + 1))
    assert "501 lines" in excess


def test_function_at_the_cap_passes_and_one_line_more_fails() -> None:
    body = "    x = 1\n" * (MAX_FUNCTION_LINES - 1)
    assert list(find_excesses("a.py", f"def f():\n{body}")) == []
    (excess,) = find_excesses("a.py", f"def f():\n{body}    x = 1\n")
    assert "a.py:1: f: 61 lines" in excess


def test_self_does_not_count_as_a_parameter_but_keyword_only_ones_do() -> None:
    method = "class C:\n    def f(self, a, b, *, c, d, e, f{more}): ...\n"
    assert list(find_excesses("a.py", method.format(more=""))) == []
    (excess,) = find_excesses("a.py", method.format(more=", g"))
    assert "7 parameters" in excess


def test_module_or_folder_named_utils_is_refused() -> None:
    assert list(find_excesses("client/plait/utils.py", ""))
    assert list(find_excesses("client/plait/helpers/push.py", ""))
    assert not list(find_excesses("client/plait/push.py", ""))


if __name__ == "__main__":
    sys.exit("\n".join(find_all_excesses()) or 0)
