"""What every test gets: an environment of its own, and the way to real data.

- No test reads the user's settings or home, and none reaches a model hub.
- Real data come from the checkout (`examples/micro`) or, for the larger sets, from a folder
  `shared/data` beside it; tests that want those are skipped where it is absent.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SHARED_DATA = CHECKOUT.parent / "shared" / "data"

# Set when this file loads, since huggingface_hub and tokenizers read them at import.
os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

# A machine that others use as well is slow at times; the hang timeout ends what never ends. The
# suite tries the same examples each time; `make explore` draws many others.
hypothesis.settings.register_profile("plait", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=3000)
hypothesis.settings.load_profile("plait")


@pytest.fixture(scope="session")
def empty_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Empty folders without end. Counting is cheaper than what `tmp_path` does for each test."""
    root = tmp_path_factory.mktemp("homes")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def isolated_environment(empty_homes: Iterator[Path]) -> Iterator[None]:
    """Hide the user's PLAIT_* settings and home, and end a test's changes with the test."""
    home = next(empty_homes)
    home.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("PLAIT_", "XDG_")):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        yield


@pytest.fixture(scope="session")
def micro_data() -> Path:
    """The demo data: a 1.0M-parameter base and six trained checkpoints of three adapters."""
    return CHECKOUT / "examples" / "micro"


def shared_data(name: str) -> Path:
    """Return a file or folder of the larger data sets, or skip the test that wants it."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"needs ../shared/data/{name} beside the checkout")
    return path


@pytest.fixture(scope="session")
def zoo_data() -> Path:
    """A 5.4M-parameter base, 23 families of adapters as PEFT writes them, federated updates."""
    return shared_data("zoo")
