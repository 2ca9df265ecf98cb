"""What a version must be, beyond being well-formed, and what is said about repositories."""

from __future__ import annotations

from plait.errors import AlreadyExists, InvalidInput, NotFound
from plait.model.adapter import parse_adapter_config
from plait.model.address import RepositoryName
from plait.model.base_card import BASE_TYPE, BaseCard
from plait.model.base_card import FILE_NAME as CARD_PATH
from plait.model.base_version import is_base, verify_base_files, verify_weights
from plait.model.commit import Base
from plait.model.manifest import File, Manifest
from plait.model.paths import is_pickle
from plait.model.repository_kind import RepositoryKind
from plait.model.stack import ADAPTER_TYPE as STACK_TYPE
from plait.model.stack import FILE_NAME as STACK_PATH
from plait.model.stack import Stack, is_stack, verify_stack_files

CONFIG_PATH = "adapter_config.json"
LARGEST_CONFIG = 1_000_000
"""Bytes. PEFT writes about 1 KB."""


def verify_version(manifest: Manifest) -> None:
    """Check that a manifest can be a version of an adapter, of a stack of adapters, or of a base.

    Raises:
        InvalidInput: it holds pickle, has weights without an adapter's config, or no weights; it is
            a stack and has weights; or it is a base and has them in the wrong place.
    """
    for file in manifest.files:
        if is_pickle(file.path):
            raise InvalidInput(
                "pickle-refused",
                f"{file.path!r} is in a pickle format, which can run code when it is loaded: "
                "convert it to safetensors (`plait push --convert` does).",
                path=file.path,
            )
    if is_base(manifest):
        verify_base_files(manifest)
        return
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


def verify_kind(kind: RepositoryKind, manifest: Manifest) -> None:
    """Check that a version is what the versions of its repository are.

    Raises:
        InvalidInput: `wrong-repository-kind`.
    """
    if kind is RepositoryKind.BASE and not is_base(manifest):
        raise InvalidInput(
            "wrong-repository-kind",
            "The repository holds bases, and the version is none: push a model with `plait base "
            "push`, and adapters to a repository of their own.",
            repository_kind=kind.value,
        )
    if kind is RepositoryKind.ADAPTER and is_base(manifest):
        raise InvalidInput(
            "wrong-repository-kind",
            "The repository holds adapters, and the version is a base: `plait base push` makes a "
            "repository for it under another name.",
            repository_kind=kind.value,
        )


def verify_base_version(base: Base, manifest: Manifest, card: bytes) -> None:
    """Check that a version of a base is what its card and its commit say.

    Raises:
        InvalidInput: `invalid-base-card`.
    """
    parsed = BaseCard.from_bytes(card)
    verify_weights(parsed, manifest)
    expected = parsed.base
    if base != expected:
        raise InvalidInput(
            "invalid-base-card",
            f"The commit names the base {base.name!r:.200} with the fingerprint "
            f"{base.fingerprint}, and its {CARD_PATH} {expected.name!r:.200} with "
            f"{expected.fingerprint}: push it with `plait base push`.",
            expected=expected.fingerprint,
            actual=base.fingerprint,
        )


def find_config(manifest: Manifest) -> File | None:
    """Return the adapter's config, or None."""
    return manifest.find(CONFIG_PATH)


def find_declaration(manifest: Manifest) -> File | None:
    """Return the file that says what the version is: adapter's config, base card or stack."""
    if is_base(manifest):
        return manifest.find(CARD_PATH)
    return manifest.find(STACK_PATH) if is_stack(manifest) else find_config(manifest)


def parse_adapter_type(declaration: File, data: bytes) -> str:
    """Return PEFT's type of an adapter, `STACK` or `BASE`, from the bytes of the declaration.

    Raises:
        InvalidInput: they are not well-formed.
    """
    if declaration.path == STACK_PATH:
        Stack.from_bytes(data)
        return STACK_TYPE
    if declaration.path == CARD_PATH:
        BaseCard.from_bytes(data)
        return BASE_TYPE
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
