"""Model probes on a real GPU: within tolerance of the processor's, in every dtype."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

from plait.language_model import describe  # noqa: E402
from plait.model.output_probe import Agreement, compare_outputs  # noqa: E402
from plait.model_probe import ModelProbe, ProbeOptions, probe_model  # noqa: E402
from plait.probe_tokens import read_probe_tokens  # noqa: E402

pytestmark = [pytest.mark.gpu, pytest.mark.torch]


def ask(micro: Path, device: str, dtype: str) -> ModelProbe:
    tokens = read_probe_tokens(micro / "heldout_tokens.safetensors")
    return probe_model(micro / "base", None, ProbeOptions(device, dtype, tokens))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_gpu_answers_within_the_tolerance_of_the_processor(dtype: str, micro_data: Path) -> None:
    here, there = ask(micro_data, "cpu", dtype), ask(micro_data, "cuda", dtype)
    comparison = compare_outputs(here.outputs, there.outputs)
    print(dtype, comparison.to_json())  # noqa: T201 - measured figures for the tolerances
    assert comparison.agreement in {Agreement.EQUAL, Agreement.WITHIN_TOLERANCE}
    assert not comparison.same_environment
    for name, losses in here.health["losses"].items():
        assert there.health["losses"][name]["merged"] == pytest.approx(losses["merged"], rel=1e-2)


def test_a_gpu_answers_itself_with_the_same_bits(micro_data: Path) -> None:
    first, second = (ask(micro_data, "cuda", "float32").outputs for _ in range(2))
    comparison = compare_outputs(first, second)
    assert comparison.agreement is Agreement.EQUAL
    assert comparison.same_environment


def test_the_description_names_the_gpu_and_its_driver() -> None:
    facts = describe("cuda")
    assert facts["device"] == torch.cuda.get_device_name()
    assert facts["driver"]
    assert facts["cuda"]
    assert "threads" not in facts
