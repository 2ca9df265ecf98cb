"""A callback for `transformers.Trainer` that pushes each checkpoint's adapter as a commit.

    trainer = Trainer(..., callbacks=[PlaitCallback("team/sql", branch="runs/42")])

- Each `checkpoint-N` becomes one commit, whose message names the step; the training state beside
  the adapter is left out.
- The newest value of each logged figure (loss, eval_loss, learning_rate, ...) hangs on the commit
  as a note of the kind `metrics`.
- A push that fails warns and does not end the training: the checkpoint is still on the disk. With
  `strict=True` it ends it.
- Only the main process of a distributed run pushes.
"""

from __future__ import annotations

import math
import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import plait
from plait.errors import InvalidInput, PlaitError
from plait.model.refs import DEFAULT_BRANCH
from plait.registry import Registry
from plait.repository import PushOptions


@dataclass(frozen=True, slots=True)
class CallbackOptions:
    """What few training runs need."""

    message: str = "Training step {step}"
    """Of each commit; `{step}` and `{epoch}` are filled in."""
    strict: bool = False
    """End the training when a push fails."""
    push: PushOptions = PushOptions(create=True)  # noqa: RUF009 - frozen


class PlaitCallback(TrainerCallback):  # type: ignore[misc] # mypy does not follow transformers
    """Pushes the adapters that a training run saves."""

    def __init__(
        self,
        repository: str,
        *,
        branch: str = DEFAULT_BRANCH,
        registry: Registry | None = None,
        options: CallbackOptions | None = None,
    ) -> None:
        """Push to `repository` (`namespace/name`); without `registry`, as `plait.connect()`.

        Raises:
            InvalidInput: the repository's name, or the message's form, is malformed.
        """
        self._options = options or CallbackOptions()
        _fill_in(self._options.message, step=0, epoch=0.0)  # not after hours of training
        opened = plait.connect() if registry is None else registry
        self._owned = opened if registry is None else None
        self._repository = opened.repository(repository)
        self._branch = branch

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 - the library's names
        **_: Any,
    ) -> None:
        """Push the checkpoint that was just saved."""
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        epoch = round(state.epoch or 0.0, 4)
        message = _fill_in(self._options.message, step=state.global_step, epoch=epoch)
        try:
            self._repository.push(
                folder,
                message=message,
                branch=self._branch,
                metrics=collect_metrics(state.log_history, step=state.global_step, epoch=epoch),
                options=self._options.push,
            )
        except PlaitError as error:
            if self._options.strict:
                raise
            words = ("plait", "push", str(folder), f"{self._repository.name}@{self._branch}")
            warnings.warn(
                f"{folder} was not pushed to {self._repository.name}: {error} "
                f"Push it later with `{shlex.join((*words, '-m', message))}`.",
                stacklevel=2,
            )

    def on_train_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 - the library's names
        state: TrainerState,  # noqa: ARG002 - the same
        control: TrainerControl,  # noqa: ARG002 - the same
        **_: Any,
    ) -> None:
        """Close the connections that this callback opened; later pushes open new ones."""
        self.close()

    def close(self) -> None:
        """Close the connections that this callback opened."""
        if self._owned is not None:
            self._owned.close()


def collect_metrics(
    history: Sequence[Mapping[str, Any]], *, step: int, epoch: float
) -> dict[str, Any]:
    """Return the newest value of each figure in a trainer's log.

    JSON has no word for NaN or infinity: such a figure is left out.
    """
    metrics: dict[str, Any] = {}
    for entry in history:
        metrics.update(
            {name: float(value) for name, value in entry.items() if _is_finite_number(value)}
        )
    return metrics | {"step": step, "epoch": epoch}


def _fill_in(message: str, *, step: int, epoch: float) -> str:
    try:
        return message.format(step=step, epoch=epoch)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InvalidInput(
            "invalid-input",
            f"The message {message!r:.200} cannot be filled in ({error}): it may hold {{step}} and "
            "{epoch}; other braces are written twice.",
        ) from error


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
