import pytest

from plait.errors import InvalidInput
from plait.model.ids import hash_bytes
from plait.model.manifest import File, Manifest, Tensor, TensorTable
from plait.model.paths import FilePath
from plait_registry.domain.policy import LARGEST_CONFIG, find_config, verify_version

DIGEST = hash_bytes(b"x")


def plain(path: str, size: int = 10) -> File:
    return File(FilePath(path), size, DIGEST, None)


def weights(path: str, *, tensors: int = 1) -> File:
    entries = tuple(Tensor(str(n), "U8", (1,), 100 + n, 1, DIGEST) for n in range(tensors))
    return File(FilePath(path), 100 + tensors, DIGEST, TensorTable(DIGEST, entries))


CONFIG = plain("adapter_config.json")
WEIGHTS = weights("adapter_model.safetensors")


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
