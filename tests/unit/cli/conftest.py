from pathlib import Path

import pytest

from copies.prompt import Prompt
from copies.workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "copy")


@pytest.fixture
def ada(workshop: Workshop) -> Prompt:
    """Ada, in the folder of the working copy."""
    return Prompt(
        workshop.folder,
        PLAIT_AUTHOR_NAME="Ada",
        PLAIT_AUTHOR_EMAIL="ada@example.org",
        COLUMNS="100",
    )
