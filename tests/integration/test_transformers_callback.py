"""A real short PEFT training run on the CPU, whose checkpoints become commits."""

import filecmp
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import plait
from plait.cache import Cache
from plait.errors import InvalidInput, Unavailable
from plait.http_transport import HttpOptions, HttpTransport, Retries
from plait.integrations.pickles import convert_pickles
from plait.model.commit import Person
from plait.registry import Registry
from plait.repository import PushOptions

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.slow,
    # What these libraries deprecate in each other is not this project's business.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

STEPS = 6


class Rows:
    """A few rows of held-out tokens; enough to make the weights move."""

    def __init__(self, path: Path) -> None:
        from safetensors.torch import load_file

        self._rows = load_file(path)["cpp"].long()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self._rows[index], "labels": self._rows[index]}


def train(micro: Path, output: Path, callback: Any) -> Any:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    base = transformers.AutoModelForCausalLM.from_pretrained(micro / "base")
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    arguments = transformers.TrainingArguments(
        output_dir=str(output),
        max_steps=STEPS,
        save_steps=STEPS // 2,
        logging_steps=1,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=Rows(micro / "heldout_tokens.safetensors"),
        callbacks=[callback],
    )
    trainer.train()
    return model


def test_each_checkpoint_becomes_a_commit_that_peft_loads_again(
    registry: Registry, repository_name: Callable[[], str], micro_data: Path, tmp_path: Path
) -> None:
    from plait.integrations.transformers import PlaitCallback

    name = repository_name()
    output = tmp_path / "run"
    callback = PlaitCallback(name, branch="runs/1", registry=registry)
    model = train(micro_data, output, callback)

    repository = registry.repository(name)
    last, first = repository.log("runs/1")
    assert [last.commit.message, first.commit.message] == ["Training step 6", "Training step 3"]
    assert last.commit.parents == (first.id,)
    assert (last.metrics["step"], first.metrics["step"]) == (6, 3)
    assert last.metrics["loss"] != first.metrics["loss"]
    assert isinstance(last.metrics["learning_rate"], float)

    pulled = repository.pull("runs/1").path
    weights = "adapter_model.safetensors"
    assert filecmp.cmp(pulled / weights, output / "checkpoint-6" / weights, shallow=False)
    assert not (pulled / "optimizer.pt").exists()
    base = transformers.AutoModelForCausalLM.from_pretrained(micro_data / "base")
    loaded = peft.PeftModel.from_pretrained(base, str(pulled))
    ours = peft.get_peft_model_state_dict(model)
    theirs = peft.get_peft_model_state_dict(loaded)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key].float(), theirs[key].float()) for key in ours)


def connect_to_nobody(folder: Path) -> Registry:
    """Return a registry that is not there, and is asked once only."""
    transport = HttpTransport("http://127.0.0.1:1", None, HttpOptions(retries=Retries(attempts=1)))
    return Registry(transport, Cache(folder / "cache"), Person("Ada", ""))


def test_failed_push_warns_and_the_training_goes_on(micro_data: Path, tmp_path: Path) -> None:
    from plait.integrations.transformers import PlaitCallback

    with (
        connect_to_nobody(tmp_path) as nowhere,
        pytest.warns(UserWarning, match="a/b: Cannot reach.*plait push .* -m 'Training step"),
    ):
        train(micro_data, tmp_path / "run", PlaitCallback("a/b", registry=nowhere))
    assert (tmp_path / "run" / "checkpoint-6" / "adapter_model.safetensors").exists()


def test_failed_push_ends_a_strict_run(micro_data: Path, tmp_path: Path) -> None:
    from plait.integrations.transformers import CallbackOptions, PlaitCallback

    with connect_to_nobody(tmp_path) as nowhere:
        callback = PlaitCallback("a/b", registry=nowhere, options=CallbackOptions(strict=True))
        with pytest.raises(Unavailable):
            train(micro_data, tmp_path / "run", callback)


@pytest.mark.parametrize("message", ["run {name}", "{", "{0}", "{step.x}", "{step:q}"])
def test_message_that_cannot_be_filled_in_is_refused_before_the_training(
    message: str, tmp_path: Path
) -> None:
    from plait.integrations.transformers import CallbackOptions, PlaitCallback

    with connect_to_nobody(tmp_path) as nowhere, pytest.raises(InvalidInput, match="braces"):
        PlaitCallback("a/b", registry=nowhere, options=CallbackOptions(message=message))


def test_metrics_are_the_newest_finite_figures() -> None:
    from plait.integrations.transformers import collect_metrics

    history: list[dict[str, Any]] = [
        {"loss": 3.0, "step": 1, "grad_norm": math.nan},
        {"eval_loss": 2.5, "step": 2, "note": "text"},
        {"loss": 2.0, "step": 2, "flag": True},
    ]
    assert collect_metrics(history, step=2, epoch=0.5) == {
        "loss": 2.0,
        "eval_loss": 2.5,
        "step": 2,
        "epoch": 0.5,
    }


def test_pickled_adapter_is_converted_and_pushed(
    registry: Registry, repository_name: Callable[[], str], micro_data: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    source = micro_data / "adapters" / "cpp" / "v1"
    tensors = load_file(source / "adapter_model.safetensors")
    folder = tmp_path / "pickled"
    folder.mkdir()
    shutil.copy(source / "adapter_config.json", folder)
    torch.save(tensors, folder / "adapter_model.bin")
    (folder / "optimizer.pt").touch()
    assert convert_pickles(folder, tmp_path / "out") == ["adapter_model.safetensors"]
    repository = registry.repository(repository_name())
    repository.push(tmp_path / "out", message="Converted", options=PushOptions(create=True))
    pulled = load_file(repository.pull().path / "adapter_model.safetensors")
    assert all(torch.equal(pulled[name], tensors[name]) for name in tensors)
    with pytest.raises(plait.AlreadyExists):
        convert_pickles(folder, tmp_path / "out")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("code ran while unpickling",))


@pytest.mark.parametrize("content", [{"a": Evil()}, {"a": {"nested": 1}}, [1, 2]])
def test_pickle_with_more_than_tensors_is_refused(tmp_path: Path, content: object) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    torch.save(content, folder / "adapter_model.bin")
    with pytest.raises(plait.InvalidInput) as caught:
        convert_pickles(folder, tmp_path / "out")
    assert caught.value.kind == "pickle-refused"


def test_conversion_never_replaces_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    for name in ("adapter_model.bin", "adapter_model.safetensors"):
        (folder / name).touch()
    with pytest.raises(plait.AlreadyExists, match="out of date"):
        convert_pickles(folder, tmp_path / "out")
