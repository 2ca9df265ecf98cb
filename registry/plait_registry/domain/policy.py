"""What a version must be, beyond being well-formed, and what is said about repositories."""

from __future__ import annotations

from plait.errors import AlreadyExists, InvalidInput, NotFound
from plait.model.adapter import parse_adapter_config
from plait.model.address import RepositoryName
from plait.model.manifest import File, Manifest
from plait.model.paths import is_pickle
from plait.model.stack import ADAPTER_TYPE as STACK_TYPE
from plait.model.stack import FILE_NAME as STACK_PATH
from plait.model.stack import Stack, is_stack, verify_stack_files

CONFIG_PATH = "adapter_config.json"
LARGEST_CONFIG = 1_000_000
"""Bytes. PEFT writes about 1 KB."""


def verify_version(manifest: Manifest) -> None:
    """Check that a manifest can be a version of an adapter, or of a stack of adapters.

    Raises:
        InvalidInput: it holds pickle, has weights without an adapter's config, or no weights; or
            it is a stack and has weights.
    """
    for file in manifest.files:
        if is_pickle(file.path):
            raise InvalidInput(
                "pickle-refused",
                f"{file.path!r} is in a pickle format, which can run code when it is loaded: "
                "convert it to safetensors (`plait push --convert` does).",
                path=file.path,
            )
    if is_stack(manifest):
        verify_stack_files(manifest)
        return
    config = find_config(manifest)
    if config is None:
        raise InvalidInput(
            "adapter-config-missing",
            f"The version has no {CONFIG_PATH}: save the adapter with PEFT's save_pretrained, "
            "which writes it beside the weights.",
        )
    if config.size > LARGEST_CONFIG:
        raise InvalidInput(
            "invalid-adapter-config", f"{CONFIG_PATH} has more than {LARGEST_CONFIG} bytes."
        )
    if not any(file.tensors and file.tensors.entries for file in manifest.files):
        raise InvalidInput(
            "adapter-empty",
            "The version holds no tensor in any safetensors file: was the adapter saved before "
            "it was built, or under another name?",
        )


def find_config(manifest: Manifest) -> File | None:
    """Return the adapter's config, or None."""
    return manifest.find(CONFIG_PATH)


def find_declaration(manifest: Manifest) -> File | None:
    """Return the file that says what the version is: the adapter's config, else the stack."""
    return manifest.find(STACK_PATH) if is_stack(manifest) else find_config(manifest)


def parse_adapter_type(declaration: File, data: bytes) -> str:
    """Return PEFT's type of an adapter, or `STACK`, from the bytes of the declaration.

    Raises:
        InvalidInput: they are not well-formed.
    """
    if declaration.path == STACK_PATH:
        Stack.from_bytes(data)
        return STACK_TYPE
    return parse_adapter_config(data).peft_type


def missing_repository(name: RepositoryName) -> NotFound:
    """Return the error that a repository is not there; also for one that the caller may not see."""
    return NotFound(
        "repository-not-found",
        f"There is no repository {name} here, or you may not see it: check the name, or make it "
        f"with `plait repo create {name}`.",
        repository=str(name),
    )


def repository_exists(taken: RepositoryName) -> AlreadyExists:
    """Return the error that a repository has the name already, perhaps in another case."""
    return AlreadyExists(
        "repository-exists",
        f"There is a repository {taken} already: push to it, or choose another name.",
        repository=str(taken),
    )
