"""All that concerns validations, attestations and validators' keys, put together."""

from __future__ import annotations

from dataclasses import dataclass

from plait_registry.domain.ports import Clock, Database
from plait_registry.domain.validations import SignatureVerifier
from plait_registry.services.publish_attestation import ListAttestations, PublishAttestation
from plait_registry.services.record_validation import ListValidations, RecordValidation
from plait_registry.services.store_expected import ListExpected, StoreExpected
from plait_registry.services.validator_keys import ListKeys, RegisterKey, RevokeKey


@dataclass(frozen=True, slots=True)
class ValidationServices:
    """The services of validations, ready to be called."""

    store_expected: StoreExpected
    list_expected: ListExpected
    record: RecordValidation
    list: ListValidations
    publish_attestation: PublishAttestation
    list_attestations: ListAttestations
    register_key: RegisterKey
    list_keys: ListKeys
    revoke_key: RevokeKey


def build_validation_services(
    database: Database, clock: Clock, signatures: SignatureVerifier
) -> ValidationServices:
    """Return the services over a database."""
    return ValidationServices(
        store_expected=StoreExpected(database, clock),
        list_expected=ListExpected(database),
        record=RecordValidation(database, clock),
        list=ListValidations(database),
        publish_attestation=PublishAttestation(database, clock, signatures),
        list_attestations=ListAttestations(database),
        register_key=RegisterKey(database, clock, signatures),
        list_keys=ListKeys(database),
        revoke_key=RevokeKey(database, clock),
    )
