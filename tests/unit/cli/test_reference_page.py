"""`docs/cli.md` says of every command what the command says of itself."""

import argparse
import importlib
import json
import re
from pathlib import Path

import pytest

from plait.cli.arguments import Parser
from plait.cli.main import GROUPS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text("utf-8")
COMMANDS = {name: summary for group in GROUPS.values() for name, summary in group.items()}


def find_section(command: str) -> str:
    """Return the section of a command."""
    _, heading, rest = PAGE.partition(f"\n### `plait {command}`\n")
    assert heading
    return re.split(r"\n##+ ", rest)[0]


def list_options(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options that not every command has."""
    return [
        option
        for action in parser._actions  # argparse has no other way to list them
        for option in action.option_strings
        if action.dest not in {"help", "json", "url"}
    ]


@pytest.mark.parametrize("command", COMMANDS)
def test_section_has_the_usage_every_option_and_an_example(command: str) -> None:
    module = importlib.import_module(f"plait.cli.{command.replace('-', '_')}")
    parser = Parser(command, COMMANDS[command], usage=module.USAGE, examples=module.EXAMPLES)
    module.configure(parser)
    section = find_section(command)
    assert f"```\n{module.USAGE}\n```" in section
    assert f"$ plait {command}" in section
    for option in list_options(parser):
        assert re.search(rf"^- `.*{option}\b", section, re.MULTILINE), option


def test_page_has_no_section_of_a_command_that_is_gone() -> None:
    assert set(re.findall(r"^### `plait ([a-z-]+)`$", PAGE, re.MULTILINE)) == set(COMMANDS)


def test_documents_that_are_shown_as_json_are_json() -> None:
    documents = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert documents
    for document in documents:
        json.loads(document)
