"""The tour that `make demo` gives: real adapters pushed, compared, shared and pulled back.

Everything happens in a temporary folder, against a registry on a free port of this machine, through
the same `plait` command that a person types. At the end the bytes that came back are compared with
the bytes that went in, and nothing is left running.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plait.model.safetensors_layout import header_size, parse_header

ADAPTERS = Path(__file__).parent / "micro" / "adapters"
BIN = Path(sys.executable).parent
REPOSITORY = "demo/micro"
BLEND = "demo/blend"
CHECKED = "demo/checked"
BASE = Path(__file__).parent / "micro" / "base"
STOP_TIMEOUT_S = 15
LOSS_ON_CPP = {"v1": 1.9312, "v2": 1.7237, "v3": 1.6198}
"""Measured on an H100 when the adapters were trained: see micro/golden-outputs.json."""
MERGED_ON_H100 = "c54fcd51c3d5dd2d1ce170fbbad9807e44e81d907425ec645160301bce78955e"
"""The root of cpp/v3 merged into the base by merge-fp64-v1, as an H100 computed it."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a shell."""

    name: str
    home: Path
    url: str
    token: str

    def run(self, command: str, *, cwd: Path | None = None, fails: bool = False) -> str:
        """Run a command as this person would type it, show it and what it prints."""
        folder = cwd or self.home
        print(
            f"\n\033[1m{self.name}$ {command}\033[0m"
            if sys.stdout.isatty()
            else f"\n{self.name}$ {command}"
        )
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env=self.environment(),
            text=True,
            capture_output=True,
            check=False,
        )
        print((done.stdout + done.stderr).rstrip(), flush=True)
        if (done.returncode != 0) is not fails:
            raise SystemExit(f"demo: {command!r} ended with status {done.returncode}")
        return done.stdout

    def read(self, command: str, *, cwd: Path | None = None) -> dict[str, object]:
        """Run a command with `--json` unseen and return what it printed."""
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} --json"],
            cwd=cwd or self.home,
            env=self.environment(),
            text=True,
            capture_output=True,
            check=True,
        )
        document: dict[str, object] = json.loads(done.stdout)
        return document

    def environment(self) -> dict[str, str]:
        """Return a shell's environment in which only this person's settings count."""
        return {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "PLAIT_URL": self.url,
            "PLAIT_TOKEN": self.token,
            "PLAIT_CACHE_DIR": str(self.home / "cache"),
            "PLAIT_AUTHOR_NAME": self.name.capitalize(),
            "PLAIT_AUTHOR_EMAIL": f"{self.name}@example.org",
        }


def main() -> None:
    """Give the tour."""
    with tempfile.TemporaryDirectory(prefix="plait-demo-") as name:
        root = Path(name)
        try:
            with running_registry(root / "registry") as url:
                token = (root / "registry" / "admin.token").read_text().strip()
                ada, bob = (make_person(who, root, url, token) for who in ("ada", "bob"))
                push_history(ada)
                branch_and_tag(ada)
                look(ada)
                resolve_a_moved_branch(ada, bob)
                show_dedup(ada, root)
                compose(ada, bob)
                prove_bytes(bob)
                validate(ada, bob)
        finally:
            make_removable(root)
    say("The registry is stopped and the folder is gone. Nothing is left running.")


def push_history(ada: Person) -> None:
    """Push three training checkpoints as history, straight from their folders."""
    say("Three checkpoints of one training, pushed from their folders as history on main:")
    ada.run(f"plait repo create {REPOSITORY}")
    for version in ("v1", "v2", "v3"):
        ada.run(
            f"plait push {ADAPTERS}/cpp/{version} {REPOSITORY} -m 'cpp {version}' "
            f"--metric loss_on_cpp={LOSS_ON_CPP[version]}"
        )


def branch_and_tag(ada: Person) -> None:
    """Work in a clone: a branch of another training, and tags."""
    say("A working copy, with git's verbs: another line of training on a branch, and tags:")
    ada.run(f"plait clone {REPOSITORY} work")
    work = ada.home / "work"
    ada.run("plait switch -c prose main~2", cwd=work)
    for version in ("v1", "v2"):
        ada.run(f"cp {ADAPTERS}/prose/{version}/* . && plait commit -m 'prose {version}'", cwd=work)
    ada.run("plait tag v1.0 main", cwd=work)
    ada.run("plait push && plait push v1.0", cwd=work)


def look(ada: Person) -> None:
    """Look at history and at what changed."""
    work = ada.home / "work"
    say("History, and what changed between two versions, in the terms of adapters:")
    ada.run("plait log --graph --all", cwd=work)
    ada.run("plait diff main~2 main", cwd=work)


def resolve_a_moved_branch(ada: Person, bob: Person) -> None:
    """Let two people push to one branch."""
    say("Two people push to one branch. The second is refused, told why, and nothing is lost:")
    bob.run(f"plait clone {REPOSITORY} theirs")
    theirs, work = bob.home / "theirs", ada.home / "work"
    ada.run("plait switch main", cwd=work)
    ada.run(f"cp {ADAPTERS}/tests/* . && plait commit -m 'train on tests' && plait push", cwd=work)
    bob.run("echo '# Adapters of the micro base' > README.md", cwd=theirs)
    bob.run("plait commit -m 'add a model card'", cwd=theirs)
    bob.run("plait push", cwd=theirs, fails=True)
    bob.run("plait pull --merge", cwd=theirs)
    bob.run("plait push", cwd=theirs)
    bob.run("plait log --graph -n 4", cwd=theirs)


def show_dedup(ada: Person, root: Path) -> None:
    """Push a version in which one layer changed, and say what was sent."""
    say("A version in which only the last layer's factors differ sends only those:")
    changed = root / "last-layer"
    shutil.copytree(ADAPTERS / "cpp" / "v3", changed)
    halve_last_layer(changed / "adapter_model.safetensors")
    size = sum(path.stat().st_size for path in changed.iterdir())
    result = ada.read(f"plait push {changed} {REPOSITORY}@last-layer -m 'halve the last layer'")
    sent = int(str(result["bytes_sent"]))
    print(f"  {sent:,} of {size:,} bytes were sent and stored: {1 - sent / size:.0%} was known.")


def compose(ada: Person, bob: Person) -> None:
    """Blend two trainings, let somebody else repeat it, and measure what came of it."""
    say("Two trainings become one adapter, by a recipe that gives the same bytes on every machine:")
    inputs = f"{REPOSITORY}@v1.0*0.7 {REPOSITORY}@prose*0.3"
    ada.run(f"plait compose --dry-run --method sum --rank 8 {inputs}")
    ada.run(f"plait compose -o {BLEND} --create --method sum --rank 8 {inputs}")
    ada.run(f"plait log {BLEND} --graph -n 3")
    bob.run(f"plait reproduce {BLEND}")
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("peft") is None:
        print("\n(torch and peft are not installed, so the losses are left out: make setup-dev)")
        return
    say("Held-out losses of the base, the parts and the blend, as PEFT computes them:")
    folders = {
        name: bob.run(f"plait pull {address}").strip()
        for name, address in {
            "cpp/v3": f"{REPOSITORY}@v1.0",
            "prose/v2": f"{REPOSITORY}@prose",
            "0.7 cpp/v3 + 0.3 prose/v2": BLEND,
        }.items()
    }
    micro = ADAPTERS.parent
    command = [sys.executable, str(micro.parent / "losses.py"), str(micro / "base")]
    command += [str(micro / "heldout_tokens.safetensors")]
    command += [f"{name}={folder}" for name, folder in folders.items()]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"demo: the losses could not be computed:\n{done.stderr}")
    print(textwrap.indent(done.stdout.rstrip(), "  "))


def prove_bytes(bob: Person) -> None:
    """Compare what was pulled with what was pushed."""
    say("What comes back is what went in, byte for byte:")
    versions = {"v1.0~2": "cpp/v1", "v1.0~1": "cpp/v2", "v1.0": "cpp/v3", "prose": "prose/v2"}
    for revision, source in versions.items():
        folder = Path(bob.run(f"plait pull {REPOSITORY}@{revision}").strip())
        for original in sorted((ADAPTERS / source).iterdir()):
            digest, pulled = digest_of(original), digest_of(folder / original.name)
            verdict = "same" if digest == pulled else "DIFFERENT"
            print(f"  {verdict}  {digest[:12]}  {source}/{original.name}")
            if digest != pulled:
                raise SystemExit("demo: a pulled file is not the one that was pushed")


def validate(ada: Person, bob: Person) -> None:
    """Have a version merged, compared and signed; then catch copies with one changed bit."""
    say("Is a version what it says? Ada tells what a merge into the base shall give, bit for bit:")
    ada.run(f"plait base push {BASE} demo/micro-base")
    ada.run(
        f"plait push {ADAPTERS}/cpp/v3 {CHECKED} -m 'cpp v3' --create --base-dir {BASE} --expect"
    )
    say("The registry's own worker merges on this CPU, compares, and signs what it saw:")
    ada.run(f"plait validate {CHECKED} --wait")
    say("Bob trusts nobody's word: he merges here, and signs by a key of his own:")
    bob.run("plait key generate bob.pem")
    bob.run("plait key register bob.pem.pub --name bob")
    bob.run(f"plait validate {CHECKED} --here --base {BASE} --key bob.pem")
    merged = bob.read(f"plait merge {CHECKED} --base {BASE} --digest-only")
    if merged["root"] != MERGED_ON_H100:
        raise SystemExit("demo: the merge is not the one that was recorded on an H100")
    print(f"\n  same  {MERGED_ON_H100[:12]}  as recorded on an H100")
    bob.run(f"plait verify {CHECKED} --base {BASE} --need 2 --save seen.intoto.jsonl")
    bob.run("plait key export -o keys.json")
    say("A copy of the base with one bit changed is caught, and so is a copy of the adapter:")
    shutil.copytree(BASE, bob.home / "base")
    flip_bit(bob.home / "base" / "model.safetensors")
    bob.run(f"plait verify {CHECKED} --base base", fails=True)
    bob.run(f"plait pull {CHECKED} adapter")
    flip_bit(bob.home / "adapter" / "adapter_model.safetensors")
    bob.run("plait verify adapter --attestations seen.intoto.jsonl --keys keys.json", fails=True)


def flip_bit(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def halve_last_layer(path: Path) -> None:
    """Halve the bf16 values of the last layer's B factors in place, by their exponents."""
    data = bytearray(path.read_bytes())
    size = header_size(bytes(data[:8]), file_size=len(data))
    layout = parse_header(bytes(data[:size]), file_size=len(data))
    last = max(tensor.name.split(".layers.")[1].split(".")[0] for tensor in layout.tensors)
    for tensor in layout.tensors:
        if f".layers.{last}." in tensor.name and tensor.name.endswith("lora_B.weight"):
            for position in range(tensor.offset, tensor.offset + tensor.size, 2):
                bits = int.from_bytes(data[position : position + 2], "little")
                if bits & 0x7F80 > 0x0080:  # normal, and normal when halved
                    data[position : position + 2] = (bits - 0x0080).to_bytes(2, "little")
    path.write_bytes(data)


def digest_of(path: Path) -> str:
    """Return a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_person(name: str, root: Path, url: str, token: str) -> Person:
    """Return somebody with a home of their own."""
    home = root / name
    home.mkdir()
    return Person(name, home, url, token)


@contextlib.contextmanager
def running_registry(data: Path) -> Iterator[str]:
    """Start the embedded registry on a free port, and stop it at the end."""
    say("The embedded registry, on a free port of this machine:")
    command = [str(BIN / "plait-registry"), "serve", "--data", str(data), "--port", "0"]
    with (data.parent / "registry.log").open("w") as log:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line.startswith("listening on "):
            raise SystemExit(
                f"demo: the registry did not start: {(data.parent / 'registry.log').read_text()}"
            )
        print(f"  {line.strip()}")
        yield line.split()[-1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(STOP_TIMEOUT_S)
        if server.stdout:
            server.stdout.close()


def make_removable(root: Path) -> None:
    """Allow the removal of folders that plait made read-only."""
    for folder, _, _ in os.walk(root):
        Path(folder).chmod(0o700)


def say(text: str) -> None:
    """Say what comes next."""
    print(f"\n== {textwrap.fill(text, 96)}", flush=True)


if __name__ == "__main__":
    main()
