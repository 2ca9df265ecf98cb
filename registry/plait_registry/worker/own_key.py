"""The key that the registry itself signs validations with, made at the first start.

It lies in the data folder, and its public half is registered as a validator's, so that a version
that the registry has validated can be verified at once. An operator who wants only others' word
revokes it, or sets another key.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from dataclasses import replace
from pathlib import Path

from plait.errors import AlreadyExists, PlaitError
from plait.signing import generate_key, load_key
from plait_registry.domain.access import SYSTEM
from plait_registry.domain.validations import KeyRole
from plait_registry.services.validation_services import ValidationServices
from plait_registry.services.validator_keys import KeyWish
from plait_registry.settings import Settings

FILE_NAME = "validator.pem"

_LOG = logging.getLogger("plait_registry.jobs")


def use_own_key(settings: Settings, validations: ValidationServices) -> Settings:
    """Return the settings with the registry's own key, where no other is set."""
    validator = settings.jobs.validator
    if validator.key is not None:
        return settings
    path = settings.data.absolute() / FILE_NAME
    try:
        _make_once(path)
        wish = KeyWish(load_key(path).public_key, _name(), KeyRole.VALIDATOR, "never")
        with contextlib.suppress(AlreadyExists):
            validations.register_key(SYSTEM, wish)
    except PlaitError as error:
        _LOG.warning("validations by this registry are not signed: %s", error.message)
        return settings
    jobs = replace(settings.jobs, validator=replace(validator, key=path))
    return replace(settings, jobs=jobs)


def _make_once(path: Path) -> None:
    """Make the key where there is none; of several processes, the first one's stays."""
    if path.exists():
        return
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    public = fresh.with_name(f"{fresh.name}.pub")
    try:
        generate_key(fresh)
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
        public.unlink(missing_ok=True)


def _name() -> str:
    return f"the registry on {os.uname().nodename}"[:200]
