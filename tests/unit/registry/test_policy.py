import pytest

from plait.errors import InvalidInput
from plait.model.ids import hash_bytes
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.paths import FilePath
from plait.model.stack import LARGEST_STACK
from plait_registry.domain.policy import (
    LARGEST_CONFIG,
    find_config,
    find_declaration,
    parse_adapter_type,
    verify_version,
)
from reference.stacks import STACK as STACKED

DIGEST = hash_bytes(b"x")


def plain(path: str, size: int = 10) -> File:
    return File(FilePath(path), size, DIGEST, None)


def weights(path: str, *, tensors: int = 1) -> File:
    entries = tuple(Tensor(str(n), "U8", (1,), 100 + n, 1, DIGEST) for n in range(tensors))
    return File(FilePath(path), 100 + tensors, DIGEST, TensorTable(DIGEST, entries))


CONFIG = plain("adapter_config.json")
WEIGHTS = weights("adapter_model.safetensors")
STACK = plain("stack.json")


@pytest.mark.parametrize(
    "files",
    [
        [CONFIG, WEIGHTS],
        [CONFIG, weights("inner/other.safetensors")],
        [CONFIG, WEIGHTS, weights("empty.safetensors", tensors=0), plain("README.md")],
        [plain("adapter_config.json", LARGEST_CONFIG), WEIGHTS],
        [CONFIG, WEIGHTS, plain("inner/adapter_config.json")],
    ],
)
def test_config_and_weights_are_a_version(files: list[File]) -> None:
    manifest = Manifest.of(files)
    verify_version(manifest)
    config = find_config(manifest)
    assert config is not None
    assert config.path == "adapter_config.json"


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ([], "adapter-config-missing"),
        ([WEIGHTS], "adapter-config-missing"),
        ([plain("inner/adapter_config.json"), WEIGHTS], "adapter-config-missing"),
        ([plain("Adapter_Config.json"), WEIGHTS], "adapter-config-missing"),
        ([CONFIG], "adapter-empty"),
        ([CONFIG, weights("adapter_model.safetensors", tensors=0)], "adapter-empty"),
        ([CONFIG, WEIGHTS, plain("adapter_model.bin")], "pickle-refused"),
        ([CONFIG, WEIGHTS, plain("checkpoint/optimizer.PT")], "pickle-refused"),
        ([plain("adapter_config.json", LARGEST_CONFIG + 1), WEIGHTS], "invalid-adapter-config"),
        ([STACK, WEIGHTS], "invalid-stack"),
        ([STACK, weights("inner/empty.safetensors", tensors=0)], "invalid-stack"),
        ([plain("stack.json", LARGEST_STACK + 1)], "invalid-stack"),
        ([STACK, plain("adapter_model.bin")], "pickle-refused"),
        ([plain("inner/stack.json")], "adapter-config-missing"),
        ([STACK, CONFIG], "adapter-empty"),
    ],
)
def test_what_is_no_adapter_is_refused(files: list[File], kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        verify_version(Manifest.of(files))
    assert caught.value.kind == kind


def test_pickle_is_refused_with_the_way_to_convert_it() -> None:
    with pytest.raises(InvalidInput, match="convert it to safetensors") as caught:
        verify_version(Manifest.of([plain("a/b.ckpt"), CONFIG, WEIGHTS]))
    assert caught.value.details == {"path": "a/b.ckpt"}


@pytest.mark.parametrize("more", [[], [plain("README.md")], [plain("eval/results.json")]])
def test_stack_needs_neither_config_nor_weights(more: list[File]) -> None:
    manifest = Manifest.of([STACK, *more])
    verify_version(manifest)
    assert find_config(manifest) is None
    assert find_declaration(manifest) == STACK


def test_version_is_declared_by_its_config_where_it_has_one() -> None:
    assert find_declaration(Manifest.of([CONFIG, STACK, WEIGHTS])) == CONFIG
    assert find_declaration(Manifest.of([WEIGHTS])) is None


def test_type_of_a_version_comes_from_its_declaration() -> None:
    assert parse_adapter_type(CONFIG, b'{"peft_type": "LORA"}') == "LORA"
    assert parse_adapter_type(STACK, STACKED.to_bytes()) == "STACK"
    with pytest.raises(InvalidInput, match="not of the format"):
        parse_adapter_type(STACK, b'{"format": "plait.stack/2"}')
