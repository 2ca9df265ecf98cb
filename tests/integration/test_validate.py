"""Validating: what is published in each way that it goes, at a registry that really listens."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from plait.base_push import BasePush, push_base
from plait.cache import Cache
from plait.errors import InvalidInput, PlaitError
from plait.http_transport import HttpTransport
from plait.judging import Judged, judge_merge
from plait.merge import Merged, MergeOptions, MergeSource, merge
from plait.model.address import RepositoryName
from plait.model.commit import Person
from plait.model.ids import ObjectId
from plait.model.merge_digests import MergeDigests
from plait.model.output_probe import Agreement, OutputProbe, Place
from plait.model.repository_kind import RepositoryKind
from plait.model.validation import Verdict, judge
from plait.probe_merged import Asked
from plait.progress import NO_PROGRESS, Progress
from plait.push_folder import FolderPush, create_repository
from plait.transport import Transport
from plait.validate import Tools, Validated, ValidationWish, describe_probes, validate
from plait.validations import publish_validation
from served import validating
from served.validating import placed

pytestmark = pytest.mark.timeout(240)

PLAIN = Tools()
DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, micro_data: Path) -> Iterator[validating.Place]:
    with placed(tmp_path_factory.mktemp("data"), micro_data) as opened:
        yield opened


@pytest.fixture
def transport(place: validating.Place) -> Iterator[HttpTransport]:
    with closing(HttpTransport(place.people.server.url, place.people.server.token)) as opened:
        yield opened


class Case:
    """A version of its own that a test validates, in whatever way."""

    def __init__(self, place: validating.Place, transport: Transport, folder: Path) -> None:
        self.place = place
        self.transport = transport
        self.folder = folder
        self.name = RepositoryName("team", folder.name.replace("_", "-")[-40:].strip("-"))
        self.commit = place.push(str(self.name), "prose/v1")

    def validate(self, tools: Tools = PLAIN, *, base: Path | None = None) -> Validated:
        wish = ValidationWish(
            repository=self.name,
            commit=self.commit,
            base=base or self.place.micro / "base",
            device="cpu",
        )
        return validate(self.transport, Cache(self.folder / "cache"), wish, NO_PROGRESS, tools)

    @property
    def verdicts(self) -> list[str]:
        """What is recorded, newest first."""
        return [item["verdict"] for item in self.place.validations(str(self.name), self.commit)]

    @property
    def last(self) -> dict[str, str]:
        """The newest record."""
        newest: dict[str, str] = self.place.validations(str(self.name), self.commit)[0]
        return newest


@pytest.fixture
def case(place: validating.Place, transport: HttpTransport, tmp_path: Path) -> Case:
    return Case(place, transport, tmp_path)


def raising(error: PlaitError) -> Tools:
    def fail(_sources: object, _options: object, _progress: object) -> Merged:
        raise error

    return Tools(merge=fail)


def altered(merged: Merged) -> Merged:
    """Return a merge with one tensor that came out otherwise."""
    tensors = {**merged.digests.tensors, DOWN: ObjectId("f" * 64)}
    health = {**merged.health, DOWN: replace(merged.health[DOWN], norm=0.125)}
    return replace(merged, digests=MergeDigests.of(tensors), health=health)


def test_first_validation_is_what_later_ones_agree_with(case: Case) -> None:
    first, second = case.validate(), case.validate()
    assert (first.is_first, second.is_first) == (True, False)
    assert first.validation.verdict is second.validation.verdict is Verdict.VERIFIED
    assert first.validation.tensors == second.validation.tensors
    assert first.validation.health["not_finite"] == 0
    assert DOWN in first.validation.probes["layer-probe-v1"]["tensors"]
    assert first.validation.environment["device"] == "cpu"


def test_tensor_that_came_out_otherwise_is_named_and_by_how_much(case: Case) -> None:
    case.validate()

    def merge_wrongly(
        sources: Sequence[MergeSource], options: MergeOptions, progress: Progress
    ) -> Merged:
        return altered(merge(sources, options, progress))

    seen = case.validate(Tools(merge=merge_wrongly)).validation
    assert (seen.verdict, seen.differing) == (Verdict.MISMATCH, 1)
    (difference,) = seen.differences
    assert (difference.name, difference.actual) == (DOWN, "f" * 64)
    assert difference.detail.startswith("this merge moved it by 0.125, the expected one by")


def test_version_that_cannot_be_merged_has_that_as_its_verdict(case: Case) -> None:
    seen = case.validate(raising(InvalidInput("not-mergeable", "BOFT has no definition.")))
    assert seen.validation.verdict is Verdict.NOT_MERGEABLE
    assert seen.validation.message == "BOFT has no definition."
    assert case.verdicts == ["not-mergeable"]


def test_single_flipped_bit_of_the_base_is_an_error_that_says_nothing_of_the_version(
    case: Case, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(case.place.micro / "base", damaged)
    (weights,) = damaged.glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        case.validate(base=damaged)
    assert "differ:" not in caught.value.message
    # A registry that knows the base, if only by its card, can say more.
    name = RepositoryName("team", "base")
    folder = FolderPush(
        folder=case.place.micro / "base",
        message="The base",
        author=Person("Ada", ""),
        time="2026-11-24T06:07:00Z",
        create=True,
    )
    create_repository(case.transport, name, kind=RepositoryKind.BASE)
    push_base(case.transport, name, BasePush(folder, manifest_only=True))
    with pytest.raises(InvalidInput, match=r"differ: model\.norm\.weight\.") as caught:
        case.validate(base=damaged)
    assert caught.value.kind == "base-mismatch"
    assert case.verdicts == ["error", "error"]
    assert case.last["message"] == caught.value.message[:4_000]
    assert case.validate().is_first


def test_outputs_beyond_tolerance_of_equal_weights_are_drift(
    case: Case, transport: HttpTransport
) -> None:
    merged = merge(
        [MergeSource("prose", case.place.micro / "adapters" / "prose" / "v1")],
        MergeOptions(case.place.micro / "base", device="cpu", measure=True),
    )
    place = Place(0, (3, 1, 2), (9.0, 8.0, 7.0))
    outputs = OutputProbe(ObjectId("a" * 64), "float32", ObjectId("b" * 64), {}, (place,))

    def judge_by(logits: tuple[float, ...]) -> Judged:
        seen = replace(outputs, digest=ObjectId("c" * 64), places=(replace(place, logits=logits),))
        return judge_merge(transport, case.name, case.commit, merged, seen)

    first = case.validate().validation
    # Nobody has asked the model yet.
    judged = judge_by((5.0, 4.0, 3.0))
    assert (judged.judgement.verdict, judged.outputs) == (Verdict.VERIFIED, None)
    probes = describe_probes(merged, Asked(outputs), judged)
    publish_validation(transport, case.name, replace(first, probes=probes))
    assert judge_by((9.0001, 8.0, 7.0)).judgement.verdict is Verdict.VERIFIED
    far = judge_by((5.0, 4.0, 3.0))
    assert far.outputs is not None
    assert (far.judgement.verdict, far.outputs.agreement) == (Verdict.DRIFT, Agreement.DRIFT)


def test_model_that_cannot_be_asked_is_no_verdict() -> None:
    asked = Asked(obstacle="torch is not installed")
    digests = MergeDigests.of({DOWN: ObjectId("1" * 64)})
    merged = Merged(digests, ObjectId("0" * 64), "original", "cpu", ())
    judged = Judged(judge(None, merged.digests), is_first=True, outputs=None)
    assert describe_probes(merged, asked, judged)["model-probe-v1"] == {
        "obstacle": "torch is not installed"
    }
