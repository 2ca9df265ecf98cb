"""`plait key` and `plait verify`, against a server: from a key to a version that is vouched for."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from copies.people import Person, make_person
from plait.cache import Cache
from plait.fingerprint import fingerprint_base
from plait.http_transport import HttpTransport
from plait.merge import Merged, merge
from plait.model.address import RepositoryName
from plait.model.commit import Base
from plait.model.commit import Person as Author
from plait.model.ids import CommitId, hash_bytes
from plait.model.merge_digests import MergeDigests
from plait.push_folder import FolderPush, push_folder
from plait.signing import attest, load_key
from plait.validate import Tools, ValidationWish, validate
from reference.dsse_verifier import open_envelope

NOW = "2026-11-24T06:07:00Z"


@dataclass
class Place:
    """A version of a shipped adapter, and whoever looks after it."""

    ada: Person
    server: Any
    repository: str
    commit: CommitId
    base: Path

    @property
    def version(self) -> str:
        return f"{self.repository}@{self.commit}"

    def register(self, file: str, **options: str) -> str:
        """Make a key and have it registered; return its id."""
        keyid = self.ada.ask("key", "generate", file)["keyid"]
        given = [part for item in options.items() for part in (f"--{item[0]}", item[1])]
        made = self.ada.ask("key", "register", f"{file}.pub", *given)
        assert made["keyid"] == keyid
        return str(keyid)

    def vouch(self, name: str, *, signed_at: str = NOW, lie: str | None = None) -> None:
        """Validate with a key, as a validator does; `lie` is a tensor that it merges wrongly."""
        key = load_key(self.ada.folder / name)
        wish = ValidationWish(
            repository=RepositoryName.parse(self.repository), commit=self.commit, base=self.base
        )

        def merge_wrongly(*given: Any) -> Merged:
            merged = merge(*given)
            tensors = dict(merged.digests.tensors)
            if lie is not None:
                tensors[lie] = hash_bytes(tensors[lie].encode())
            return replace(merged, digests=MergeDigests.of(tensors))

        tools = Tools(
            merge=merge_wrongly,
            sign=lambda seen, manifest: attest(
                key, seen, manifest, repository=self.repository, signed_at=signed_at
            ),
        )
        with closing(HttpTransport(self.server.url, self.server.token)) as transport:
            validate(transport, Cache(self.ada.folder.parent / "worker"), wish, tools=tools)

    def verify(self, *options: str) -> Any:
        return self.ada.ask("verify", self.version, *options)


@pytest.fixture
def place(
    registry_server: Any,
    tmp_path: Path,
    micro_data: Path,
    repository_name: Callable[[], str],
) -> Place:
    name = repository_name()
    base = micro_data / "base"
    wish = FolderPush(
        folder=micro_data / "adapters" / "cpp" / "v1",
        message="First",
        author=Author("Ada", ""),
        time=NOW,
        base=Base("plait/micro-base", None, fingerprint_base(base)),
        create=True,
    )
    with closing(HttpTransport(registry_server.url, registry_server.token)) as transport:
        pushed = push_folder(transport, RepositoryName.parse(name), wish)
    ada = make_person(registry_server, tmp_path / "ada")
    return Place(ada, registry_server, name, pushed.commit, base)


def test_version_that_a_validator_vouched_for_is_verified(place: Place) -> None:
    keyid = place.register("gpu", name="gpu-1")
    place.vouch("gpu")
    facts = place.verify()
    assert (facts["verified"], facts["keys"], facts["commit"]) == (True, [keyid], place.commit)
    (item,) = facts["attestations"]
    assert (item["standing"], item["name"], item["root"]) == ("counts", "gpu-1", facts["root"])
    said = place.ada.run("verify", place.version)
    assert f"1 key vouches for the root {facts['root']}" in said
    assert "gpu-1" in said


def test_merging_again_gives_the_same_root(place: Place) -> None:
    place.register("gpu")
    place.vouch("gpu")
    facts = place.verify("--base", str(place.base), "--device", "cpu")
    assert facts["merged"]["root"] == facts["root"]
    assert "Merged again here (cpu)" in place.ada.run(
        "verify", place.version, "--base", place.base, "--device", "cpu"
    )


def test_merging_into_a_base_with_one_other_bit_agrees_with_nobody(
    place: Place, tmp_path: Path
) -> None:
    place.register("gpu")
    place.vouch("gpu")
    base = tmp_path / "tampered"
    shutil.copytree(place.base, base)
    flip(next(base.glob("*.safetensors")))
    told = place.ada.fail("verify", place.version, "--base", base, "--device", "cpu")
    assert "into another base" in told
    assert "not counted: other-merge" in told
    assert "1 of its tensors came out otherwise than the registry's say: model." in told


def test_merge_that_gives_other_weights_names_the_tensors(place: Place) -> None:
    place.register("gpu")
    place.vouch("gpu", lie="model.norm.weight")
    facts = place.ada.type(
        "verify", place.version, "--base", place.base, "--device", "cpu", "--json"
    ).facts()["error"]["details"]
    assert facts["differing"] == ["model.norm.weight"]
    assert [item["standing"] for item in facts["attestations"]] == ["other-root"]
    told = place.ada.fail("verify", place.version, "--base", place.base, "--device", "cpu")
    assert "1 of its tensors came out otherwise than the registry's say: model.norm.weight" in told
    assert place.verify()["verified"]


def test_version_that_nobody_vouched_for_is_not_verified(place: Place) -> None:
    assert "nobody has attested it" in place.ada.fail("verify", place.version)
    answer = place.ada.type("verify", place.version, "--json")
    assert answer.status == 1
    error = answer.facts()["error"]
    assert (error["kind"], error["details"]["verified"]) == ("not-verified", False)


def test_as_many_distinct_keys_as_are_needed_must_vouch(place: Place) -> None:
    place.register("one")
    place.vouch("one")
    place.vouch("one", signed_at="2026-11-24T06:08:00Z")
    assert "1 of 2 needed keys" in place.ada.fail("verify", place.version, "--need", "2")
    place.register("two")
    place.vouch("two")
    assert len(place.verify("--need", "2")["keys"]) == 2


def test_nothing_counts_that_a_revoked_key_signed(place: Place) -> None:
    keyid = place.register("gpu")
    place.vouch("gpu")
    assert place.ada.ask("key", "revoke", keyid[:12]) == {"revoked": keyid}
    assert "key-revoked" in place.ada.fail("verify", place.version)
    assert "revoked at" in place.ada.run("key", "list")


def test_publisher_informs_alone(place: Place) -> None:
    place.register("team", role="publisher")
    place.vouch("team")
    assert "wrong-role" in place.ada.fail("verify", place.version)


def test_another_tool_reads_what_was_saved(place: Place) -> None:
    place.register("gpu")
    place.vouch("gpu")
    place.verify("--save", "sql.intoto.jsonl")
    (line,) = (place.ada.folder / "sql.intoto.jsonl").read_text("utf-8").splitlines()
    statement = open_envelope(json.loads(line), (place.ada.folder / "gpu.pub").read_text("utf-8"))
    assert statement["predicate"]["result"] == "PASSED"
    assert statement["subject"][0]["digest"] == {"sha256": place.commit}


def take_away(place: Place, folder: Path) -> Person:
    """Return somebody who has the version and what vouches for it, and no registry."""
    place.verify("--save", str(folder / "all.intoto.jsonl"))
    place.ada.run("key", "export", "-o", folder / "keys.json")
    place.ada.run("pull", place.version, folder / "sql")
    return Person(folder, PLAIT_URL="http://127.0.0.1:9", PLAIT_CACHE_DIR=str(folder / "cache"))


def test_folder_is_verified_without_a_registry(place: Place, tmp_path: Path) -> None:
    place.register("gpu")
    place.vouch("gpu")
    bob = take_away(place, tmp_path)
    offline = ("verify", "sql", "--attestations", "all.intoto.jsonl", "--keys", "keys.json")
    assert bob.ask(*offline, "--commit", place.commit)["verified"]
    facts = bob.ask(*offline, "--base", place.base, "--device", "cpu")
    assert facts["merged"]["root"] == facts["root"]
    assert "other-commit" in bob.fail(*offline, "--commit", "0" * 64)

    flip(bob.folder / "sql" / "adapter_model.safetensors")
    assert "adapter_model.safetensors" in bob.fail(*offline)


def test_validators_key_that_had_expired_does_not_count(place: Place, tmp_path: Path) -> None:
    place.register("gpu")
    place.vouch("gpu")
    bob = take_away(place, tmp_path)
    keys = json.loads((tmp_path / "keys.json").read_text("utf-8"))
    for key in keys["keys"]:
        key["expires_at"] = "2026-11-24T06:06:59Z"
    (tmp_path / "keys.json").write_text(json.dumps(keys), "utf-8")
    told = bob.fail("verify", "sql", "--attestations", "all.intoto.jsonl", "--keys", "keys.json")
    assert "key-expired" in told


def test_attestations_of_another_version_are_named_as_replayed(
    place: Place, tmp_path: Path
) -> None:
    place.register("gpu")
    place.vouch("gpu")
    place.verify("--save", str(tmp_path / "all.intoto.jsonl"))
    eve = make_person(place.server, tmp_path / "eve")
    eve.train(1)
    eve.run("push", ".", place.repository, "-m", "Second")
    told = eve.fail("verify", place.repository, "--attestations", tmp_path / "all.intoto.jsonl")
    assert "other-commit" in told


def test_version_that_was_pulled_is_verified_while_the_registry_is_away(
    place: Place, tmp_path: Path
) -> None:
    place.register("gpu")
    place.vouch("gpu")
    bob = take_away(place, tmp_path)
    away = Person(place.ada.folder, **{**place.ada.environment, "PLAIT_URL": "http://127.0.0.1:9"})
    options = ("--attestations", bob.folder / "all.intoto.jsonl", "--keys", "gpu.pub")
    facts = away.ask("verify", place.version, *options, "--base", place.base, "--device", "cpu")
    assert facts["verified"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("verify", "sql", "--attestations", "x"), "name --keys"),
        (("verify", "a/b@main", "--commit", "0" * 64), "goes with a folder"),
        (("verify", "a/b@main", "--need", "0"), "At least one key"),
        (("key", "generate"), "Say where to"),
        (("key", "register"), "Say which"),
        (("key", "revoke"), "Say which"),
        (("key", "list", "x"), "name none"),
        (("key", "export", "x"), "by -o"),
    ],
)
def test_wrong_usage_is_explained(
    registry_server: Any, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    ada = make_person(registry_server, tmp_path / "ada")
    (ada.folder / "sql").mkdir()
    assert said in ada.fail(*words, status=2)


def test_locked_key_needs_a_passphrase_that_is_not_empty(
    registry_server: Any, tmp_path: Path
) -> None:
    ada = make_person(registry_server, tmp_path / "ada")
    (ada.folder / "secret").write_text("open sesame\n")
    (ada.folder / "empty").write_text("\n")
    ada.run("key", "generate", "gpu", "--passphrase-file", "secret")
    assert load_key(ada.folder / "gpu", passphrase=b"open sesame").keyid
    for name in ("empty", "none"):
        assert name in ada.type("key", "generate", "x", "--passphrase-file", name).err
    assert not (ada.folder / "x").exists()


def test_unknown_key_cannot_be_revoked(registry_server: Any, tmp_path: Path) -> None:
    ada = make_person(registry_server, tmp_path / "ada")
    assert "key" in ada.fail("key", "revoke", "0" * 64)


def flip(path: Path) -> None:
    """Change one bit of the last number of a file."""
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(held)
