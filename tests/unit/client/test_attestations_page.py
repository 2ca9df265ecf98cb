"""The program that `docs/attestations.md` shows does what the page says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from plait.attestation_files import write_bundle
from plait.verify import Standing
from reference.attestations import COMMIT, DIGESTS, MANIFEST, MISMATCH, make_key, sign

PAGE = (Path(__file__).parents[3] / "docs" / "attestations.md").read_text("utf-8")


def check(folder: Path, wanted: str, *, key: str) -> subprocess.CompletedProcess[str]:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    command = [sys.executable, "-c", program, str(folder / "all.jsonl"), str(folder / key), wanted]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in (1, 2):
        (tmp_path / f"{seed}.pub").write_text(make_key(tmp_path, seed).public_key)
    (tmp_path / "all.jsonl").write_bytes(write_bundle([sign(make_key(tmp_path))] * 2))
    return tmp_path


@pytest.mark.parametrize("wanted", [COMMIT, DIGESTS.root, MANIFEST.files[0].sha256])
def test_program_finds_a_commit_a_merge_and_a_file(folder: Path, wanted: str) -> None:
    ended = check(folder, wanted, key="1.pub")
    assert (ended.stdout, ended.stderr) == (f"verified {wanted}\n" * 2, "")


def test_program_refuses_another_key_another_subject_and_another_result(folder: Path) -> None:
    assert "InvalidSignature" in check(folder, COMMIT, key="2.pub").stderr
    assert "AssertionError" in check(folder, "0" * 64, key="1.pub").stderr
    (folder / "all.jsonl").write_bytes(write_bundle([sign(make_key(folder), MISMATCH)]))
    assert "AssertionError" in check(folder, COMMIT, key="1.pub").stderr


def test_page_explains_every_standing() -> None:
    assert set(re.findall(r"^\| `([a-z-]+)` \| [^|]*\|$", PAGE, re.MULTILINE)) >= set(Standing)
