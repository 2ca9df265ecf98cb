import io
import json
import re
import sys
from pathlib import Path

import pytest

from plait.errors import InvalidInput, NotFound, TooLarge, Unavailable
from plait.model.recipe import Recipe
from plait.recipe_file import DEEPEST, LARGEST_FILE, parse_json, parse_yaml, read_recipe
from reference.recipes import document

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"
YAML = b"""\
format: plait.recipe/1
method: sum
inputs:
  - adapter: team/sql
  - adapter: team/chat
"""


def read(path: Path | str, *, stdin: bytes = b"") -> Recipe:
    return read_recipe(str(path), io.BytesIO(stdin))


def refuse(data: bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_yaml(data)
    assert caught.value.kind == "invalid-recipe"
    return caught.value.message


def find_examples() -> list[tuple[str, str]]:
    blocks = re.findall(r"(?ms)^```(yaml|json)\n(.*?)^```$", PAGE.read_text("utf-8"))
    return [(language, text) for language, text in blocks]


@pytest.mark.parametrize("name", ["recipe.yaml", "recipe.yml", "RECIPE.YAML"])
def test_yaml_file_is_a_recipe(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(YAML)
    assert read(tmp_path / name) == Recipe.from_json(document())


def test_json_file_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(document(), indent=1))
    assert read(tmp_path / "recipe.json") == Recipe.from_json(document())


@pytest.mark.parametrize("data", [YAML, b"\xef\xbb\xbf" + YAML, json.dumps(document()).encode()])
def test_standard_input_is_yaml_or_json(data: bytes) -> None:
    assert read("-", stdin=data) == Recipe.from_json(document())


def test_examples_of_the_page_are_recipes() -> None:
    examples = find_examples()
    assert {language for language, _ in examples} == {"yaml", "json"}
    for language, text in examples:
        parse = parse_yaml if language == "yaml" else parse_json
        recipe = Recipe.from_json(parse(text.encode()))
        assert recipe.is_pinned == (language == "json")
        if language == "json":
            # The page says that a pinned recipe writes everything down.
            assert recipe.to_json() == json.loads(text)
            assert recipe.pin([item.commit for item in recipe.inputs if item.commit]) == recipe


def test_weights_for_parts_are_as_the_page_says() -> None:
    text = next(text for language, text in find_examples() if "layers:" in text)
    cpp = Recipe.from_json(parse_yaml(text.encode())).inputs[0]
    assert cpp.weight_of("model.layers.0.mlp.down_proj") == 1
    assert cpp.weight_of("model.layers.1.mlp.down_proj") == 0
    assert cpp.weight_of("model.layers.7.self_attn.q_proj") == 0.2
    assert cpp.weight_of("model.layers.8.self_attn.q_proj") == 0.6
    assert cpp.weight_of("model.layers.24.self_attn.q_proj") == 0.9
    assert cpp.weight_of("model.embed_tokens") == 0.6


def test_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (text,) = re.findall(r"(?ms)^```python\n(.*?)^```$", PAGE.read_text("utf-8"))
    exec(text, {})  # noqa: S102 - this project's own page
    assert capsys.readouterr().out == "[0.7, 0.3]\n"


def test_every_field_of_the_format_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    recipe = Recipe.from_json(document()).to_json()
    for name in (*recipe, *recipe["inputs"][0]):
        assert f"| `{name}` |" in page, name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("16", 16),
        ("+16", 16),
        ("-0", 0),
        ("0.7", 0.7),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("'16'", "16"),
        ('"true"', "true"),
        ("yes", "yes"),
        ("off", "off"),
        ("010", "010"),
        ("0o17", "0o17"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"),
        (".nan", ".nan"),
        ("-.inf", "-.inf"),
        ("<<", "<<"),
        ("=", "="),
        ("1.2.3", "1.2.3"),
        ("0123456", "0123456"),
    ],
)
def test_plain_text_is_what_every_version_of_yaml_agrees_on(text: str, value: object) -> None:
    found = parse_yaml(f"a: {text}".encode())["a"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_whatever_they_look_like() -> None:
    held = parse_yaml(b"{3: a, 0-3: b, true: c, null: d, 1e3: e}")
    assert held == {"3": "a", "0-3": "b", "true": "c", "null": "d", "1e3": "e"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: &x 1\nb: *x", "line 1, column 4: the anchor &x"),
        (b"a: 1\nb: *x", "line 2, column 4: the alias *x"),
        (b"&x a: 1", "line 1, column 1: the anchor &x"),
        (b"a: 1\nb: &x\n  c: 1", "line 2, column 4: the anchor &x"),
        (b"a: !!python/object/apply:os.system [id]", "the tag"),
        (b"a: !!str 1", "the tag 'tag:yaml.org,2002:str'"),
        (b"! 1", "the tag"),
        (b"!!str a: 1", "the tag"),
        (b"%YAML 1.1\n---\na: 1", "a directive"),
        (b"%TAG ! x:\n---\na: 1", "a directive"),
        (b"a: 1\n---\nb: 2", "line 2, column 1: a second document"),
        (b"a: 1\nb:\n  c: 1\n  c: 2", "line 4, column 3: the key 'c' is given twice"),
        (b"3: a\n'3': b", "the key '3' is given twice"),
        (b"? [a]\n: 1", "line 1, column 3: a key must be text"),
        (b"{{}: 1}", "a key must be text"),
        (b"a: 1\nb: [1,", "line 2"),
        (b"a: 1\n\tb: 1", "line 2, column 1: found character '\\t'"),
        (b"a: b: c", "line 1, column 5: mapping values are not allowed"),
        (b"a: 1e999", "1e999 is too large a number"),
        (b"a: " + b"9" * 5_000, "too many digits"),
        (b"a: \x00", "special characters are not allowed"),
        (b"a: \xff", "not UTF-8, at byte 3"),
        ("a: 1".encode("utf-16"), "not UTF-8"),
        (b"[" * 100_000, "nested over"),
        (b"- " * 100_000, "nested over"),
    ],
)
def test_other_yaml_is_refused_with_its_line(data: bytes, message: str) -> None:
    assert message in refuse(data)


def test_depth_is_bounded() -> None:
    parse_yaml(b"[" * DEEPEST + b"]" * DEEPEST)
    refuse(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1))


def test_json_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_bytes(b'{"format": "plait.recipe/1",\n "method": "sum" "inputs": []}')
    with pytest.raises(InvalidInput, match=r"recipe\.json: .*line 2") as caught:
        read(path)
    assert caught.value.kind == "invalid-recipe"
    for text in (b'{"a": 1, "a": 2}', b'{"a": NaN}', b'{"a": 1e999}', b"{'a': 1}"):
        with pytest.raises(InvalidInput) as caught:
            parse_json(text)
        assert caught.value.kind == "invalid-recipe"


def test_rule_of_recipes_that_a_file_breaks_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(YAML.replace(b"team/sql", b"team/sql\n    revision: 1.0"))
    with pytest.raises(InvalidInput, match=r"recipe\.yaml: Input 1 \('team/sql'\).*in quotes"):
        read(path)
    with pytest.raises(InvalidInput, match="standard input: The recipe must be a mapping"):
        read("-", stdin=b"# nothing but words\n")


def test_file_that_is_not_there_or_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        read(tmp_path / "recipe.yaml")
    assert caught.value.kind == "file-not-found"
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(InvalidInput, match="Cannot read"):
        read(tmp_path / "folder.yaml")
    with pytest.raises(InvalidInput, match="Cannot read"):
        read("\0.yaml")
    with pytest.raises(InvalidInput, match=r"standard input \(-\)"):
        read(tmp_path / "recipe.txt")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(YAML + b"#" * (LARGEST_FILE - len(YAML)))
    assert read(path) == Recipe.from_json(document())
    with path.open("ab") as file:
        file.write(b"#")
    with pytest.raises(TooLarge) as caught:
        read(path)
    assert caught.value.kind == "file-too-large"
    with pytest.raises(TooLarge):
        read("-", stdin=b" " * (LARGEST_FILE + 1))


def test_yaml_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(Unavailable, match="pip install") as caught:
        parse_yaml(YAML)
    assert caught.value.kind == "extra-missing"
    assert read("-", stdin=json.dumps(document()).encode()) == Recipe.from_json(document())
