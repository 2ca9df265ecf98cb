"""What the layer contracts cannot see: a light import, and one reader of the environment."""

import ast
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("boto3", "fastapi", "httpx", "numpy", "pydantic", "sqlalchemy", "torch")

# Everything else gets its settings as arguments, so that one process can serve two of them.
# `plait.connect()` is where a script begins, as the command line is where a person does.
MAY_READ_ENVIRONMENT = (
    "client/plait/__init__.py",
    "client/plait/cli/",
    "registry/plait_registry/settings.py",
)
MAY_EXIT = (
    "client/plait/cli/",
    "registry/plait_registry/cli.py",
    "registry/plait_registry/serve.py",
)


def find_loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after one statement."""
    code = f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def find_uses(*attributes: str) -> Iterator[tuple[str, str]]:
    """Yield where the programs use one of the dotted names, as (path:line, name)."""
    for folder in ("client/plait", "registry/plait_registry"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for line, name in find_names(path.read_text("utf-8")):
                if name in attributes:
                    yield f"{path.relative_to(ROOT)}:{line}", name


def find_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the dotted names that a module uses, or imports from another, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize("module", ["plait", "plait.model", "plait.errors", "plait.cli.main"])
def test_importing_the_client_loads_nothing_heavy(module: str) -> None:
    assert find_loaded_by(f"import {module}").isdisjoint(HEAVY)


def test_the_check_for_heavy_imports_sees_them() -> None:
    assert "numpy" in find_loaded_by("import numpy")


# Ways to ask for the environment without naming it are on the list as well.
ENVIRONMENT = (
    "getpass.getuser",
    "os.environ",
    "os.environb",
    "os.getenv",
    "os.path.expanduser",
    "os.path.expandvars",
    "urllib.request.getproxies",
)


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['X']", "from os import environ as settings"]
)
def test_the_check_for_the_environment_sees_every_form(source: str) -> None:
    assert "os.environ" in {name for _, name in find_names(source)}


def test_only_the_command_line_and_the_settings_read_the_environment() -> None:
    uses = find_uses(*ENVIRONMENT)
    assert [use for use in uses if not use[0].startswith(MAY_READ_ENVIRONMENT)] == []


def test_only_the_command_lines_end_the_process() -> None:
    uses = find_uses("sys.exit", "os._exit")
    assert [use for use in uses if not use[0].startswith(MAY_EXIT)] == []


@pytest.mark.parametrize("folder", ["client", "registry"])
def test_roots_of_packages_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


@pytest.mark.parametrize("package", ["plait", "plait_registry"])
def test_both_packages_tell_type_checkers_that_they_are_typed(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).with_name("py.typed").exists()
