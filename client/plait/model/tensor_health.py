"""What a merge did to one tensor, in figures that every machine computes to the same bits.

They are for people, and say by how much two merges differ where digests say only that they do.
How they are computed is in `plait.algebra.merge_health`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from plait.model.fields import Fields

_KIND = "invalid-validation"
_FIELDS = ("norm", "changed_share", "not_finite", "elements")


@dataclass(frozen=True, slots=True)
class TensorHealth:
    """What a merge did to one tensor."""

    norm: float
    """Frobenius norm of merged - base, over the finite numbers."""
    changed_share: float
    """Elements with another code, of all: 0 to 1. -0.0 is not 0.0."""
    not_finite: int
    """NaNs and infinities in the merged tensor."""
    elements: int

    @classmethod
    def from_json(cls, value: object) -> TensorHealth:
        """Return what a validation says of a tensor.

        Raises:
            InvalidInput: `invalid-validation`, it breaks a rule of the format.
        """
        fields = Fields(value, kind=_KIND, where="A tensor's health")
        fields.only(_FIELDS)
        norm, share = fields.get("norm"), fields.get("changed_share")
        for figure in (norm, share):
            if type(figure) not in {int, float} or not math.isfinite(figure) or figure < 0:
                raise fields.error("has a figure that is no finite number >= 0")
        return cls(float(norm), float(share), fields.count("not_finite"), fields.count("elements"))

    def to_json(self) -> dict[str, Any]:
        """Return the document's part."""
        return {
            "norm": self.norm,
            "changed_share": self.changed_share,
            "not_finite": self.not_finite,
            "elements": self.elements,
        }

    def describe_against(self, expected: TensorHealth) -> str:
        """Return by how much this merge of a tensor differs from the expected one, for people."""
        if self == expected:
            return f"both merges moved it by {self.norm:.9g}: by this figure they do not differ"
        parts = [f"this merge moved it by {self.norm:.9g}, the expected one by {expected.norm:.9g}"]
        if self.changed_share != expected.changed_share:
            mine, other = self.changed_share, expected.changed_share
            parts.append(f"{mine:.4%} of its elements changed, {other:.4%} were expected to")
        if self.not_finite != expected.not_finite:
            parts.append(f"{self.not_finite} are not finite, {expected.not_finite} were expected")
        return "; ".join(parts)
