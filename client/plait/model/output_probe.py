"""What a merged model answered to fixed tokens, and whether another machine's answer agrees.

Logits come from stock kernels, whose bits depend on the device, the versions of libraries and the
number of threads. So their digest is exact evidence only where all of these are the same; else the
answers are compared by tolerance, on a sample that is small enough to be stored: the largest
logits at places spread over the tokens.

    agreement of the top   tokens that both name among the largest, of all that either could
    largest error          max |seen - expected| / max |expected|, the latter of one place

The digests of the weights stay the primary evidence: outputs can agree for weights that differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from plait.model.fields import Fields
from plait.model.ids import ObjectId, parse_object_id

DEFINITION = "model-probe-v1"
TOP = 10
"""Logits that are kept of each place."""
MOST_PLACES = 64
_KIND = "invalid-validation"
_MOST_ENVIRONMENT = 100
_FIELDS = ("tokens", "dtype", "digest", "environment", "places")


class Agreement(StrEnum):
    """How two answers to the same tokens compare."""

    EQUAL = "equal"  # every bit of every logit
    WITHIN_TOLERANCE = "within-tolerance"  # as near as other kernels of the same model are
    DRIFT = "drift"  # farther than that: look at the versions of libraries
    NOT_COMPARABLE = "not-comparable"  # of other tokens, or computed in another dtype


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far answers of one model may be apart."""

    largest_error: float
    top_agreement: float


TOLERANCES = {
    "float32": Tolerance(largest_error=1e-4, top_agreement=0.95),
    "bfloat16": Tolerance(largest_error=5e-2, top_agreement=0.8),
    "float16": Tolerance(largest_error=1e-2, top_agreement=0.9),
}
"""By the dtype that is computed in. An H100 and a CPU were 7e-7 of the largest logit apart in
float32 and 7e-3 in bfloat16, for models of 5M parameters; errors grow with a model's depth."""


@dataclass(frozen=True, slots=True)
class Place:
    """The largest logits of one place."""

    position: int
    """Counted over all rows, in order."""
    tokens: tuple[int, ...]
    """Up to `TOP`, the largest logit first; fewer where others are not finite."""
    logits: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document's part."""
        return {
            "position": self.position,
            "tokens": list(self.tokens),
            "logits": list(self.logits),
        }


@dataclass(frozen=True, slots=True)
class OutputProbe:
    """What a model answered to fixed tokens."""

    tokens: ObjectId
    """The digest of the tokens."""
    dtype: str
    """That was computed in: float32, bfloat16 or float16."""
    digest: ObjectId
    """sha256 of all logits, as little-endian float32, row after row."""
    environment: Mapping[str, str]
    """All that the bits depend on."""
    places: tuple[Place, ...]

    @classmethod
    def from_json(cls, value: object) -> OutputProbe:
        """Return what a document says.

        Raises:
            InvalidInput: `invalid-validation`, it breaks a rule of the format.
        """
        fields = Fields(value, kind=_KIND, where="A model probe")
        fields.only(_FIELDS)
        environment = fields.get("environment")
        if (
            not isinstance(environment, dict)
            or len(environment) > _MOST_ENVIRONMENT
            or not all(isinstance(text, str) for text in environment.values())
        ):
            raise fields.error("needs an object of strings as 'environment'")
        places = fields.items("places")
        if not 1 <= len(places) <= MOST_PLACES:
            raise fields.error(f"needs 1 to {MOST_PLACES} places")
        dtype = fields.text("dtype")
        if dtype not in TOLERANCES:
            raise fields.error("has a 'dtype' that no tolerance is known for")
        return cls(
            tokens=parse_object_id(fields.text("tokens")),
            dtype=dtype,
            digest=parse_object_id(fields.text("digest")),
            environment=dict(environment),
            places=tuple(_parse_place(place) for place in places),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the document, as a validation keeps it."""
        return {
            "tokens": self.tokens,
            "dtype": self.dtype,
            "digest": self.digest,
            "environment": dict(self.environment),
            "places": [place.to_json() for place in self.places],
        }


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How an answer compares with the expected one."""

    agreement: Agreement
    same_environment: bool
    """Then the digests should be equal; where they are not, a kernel has no fixed order."""
    top_agreement: float = 0.0
    """0 to 1, the mean over the places."""
    largest_error: float = 0.0
    """Relative to the largest logit of a place."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a validation keeps it."""
        return {
            "agreement": self.agreement.value,
            "same_environment": self.same_environment,
            "top_agreement": self.top_agreement,
            "largest_error": self.largest_error,
        }


def compare_outputs(expected: OutputProbe, seen: OutputProbe) -> OutputComparison:
    """Compare an answer with the one that an earlier validation stored."""
    same_environment = dict(expected.environment) == dict(seen.environment)
    positions = [place.position for place in expected.places]
    if (
        expected.tokens != seen.tokens
        or expected.dtype != seen.dtype
        or positions != [place.position for place in seen.places]
    ):
        return OutputComparison(Agreement.NOT_COMPARABLE, same_environment)
    pairs = list(zip(expected.places, seen.places, strict=True))
    top_agreement = sum(_share_of_top(*pair) for pair in pairs) / len(pairs)
    largest_error = max(_error_of_place(*pair) for pair in pairs)
    tolerance = TOLERANCES[expected.dtype]
    if expected.digest == seen.digest:
        agreement = Agreement.EQUAL
    elif top_agreement >= tolerance.top_agreement and largest_error <= tolerance.largest_error:
        agreement = Agreement.WITHIN_TOLERANCE
    else:
        agreement = Agreement.DRIFT
    return OutputComparison(agreement, same_environment, top_agreement, largest_error)


def compare_with_earlier(
    seen: OutputProbe, earlier: Iterable[OutputProbe]
) -> OutputComparison | None:
    """Compare an answer with that one of earlier answers of the same weights which counts.

    One from the same environment is preferred, since it can be compared exactly; else the first
    that is comparable counts, so that small differences do not add up from one validation to the
    next. None where no answer is comparable.
    """
    comparisons = [compare_outputs(expected, seen) for expected in earlier]
    comparable = [item for item in comparisons if item.agreement is not Agreement.NOT_COMPARABLE]
    exact = (item for item in comparable if item.same_environment)
    return next(exact, comparable[0] if comparable else None)


def _share_of_top(expected: Place, seen: Place) -> float:
    most = max(len(expected.tokens), len(seen.tokens))
    return len(set(expected.tokens) & set(seen.tokens)) / most if most else 1.0


def _error_of_place(expected: Place, seen: Place) -> float:
    """Return the largest error of the tokens that both name, relative to the largest logit."""
    scale = max(map(abs, expected.logits), default=0.0) or 1.0
    found = dict(zip(seen.tokens, seen.logits, strict=True))
    errors = (
        abs(found[token] - logit)
        for token, logit in zip(expected.tokens, expected.logits, strict=True)
        if token in found
    )
    return max(errors, default=0.0) / scale


def _parse_place(value: object) -> Place:
    fields = Fields(value, kind=_KIND, where="A place of a model probe")
    fields.only(("position", "tokens", "logits"))
    tokens, logits = fields.items("tokens"), fields.items("logits")
    if (
        len(tokens) != len(logits)
        or len(tokens) > TOP
        or len(set(map(repr, tokens))) != len(tokens)
    ):
        raise fields.error(f"needs up to {TOP} different tokens, and a logit for each")
    if not all(type(token) is int and token >= 0 for token in tokens):
        raise fields.error("has a token that is no whole number")
    if not all(type(logit) in {int, float} and math.isfinite(logit) for logit in logits):
        raise fields.error("has a logit that is not finite")
    return Place(fields.count("position"), tuple(tokens), tuple(map(float, logits)))
