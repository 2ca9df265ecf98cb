"""The held-out losses of a base, with adapters on it, as PEFT computes them.

    python examples/losses.py BASE TOKENS.safetensors NAME=ADAPTER_FOLDER...

Prints a table: a line for the base alone and for each adapter, a column for each tensor of token
ids (rows, length). The loss is the mean of the next token's, in nats; everything runs in float32
on the CPU. Needs torch, transformers and peft.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def main() -> None:
    """Compute and print."""
    base, tokens, *adapters = sys.argv[1:]
    folders = dict(adapter.split("=", 1) for adapter in adapters)
    rows = list(compute_losses(Path(base), Path(tokens), folders))
    domains = list(rows[0][1])
    width = max(len(name) for name, _ in rows)
    print(" " * width, *(f"{domain:>8}" for domain in domains))
    for name, losses in rows:
        print(f"{name:<{width}}", *(f"{losses[domain]:8.4f}" for domain in domains))


def compute_losses(
    base: Path, tokens: Path, folders: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield the losses by domain: of the base alone, then with each adapter."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    domains = {name: ids.long() for name, ids in sorted(load_file(tokens).items())}
    for name, folder in (("base", None), *folders.items()):
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        if folder is not None:
            model = PeftModel.from_pretrained(model, folder)
        model.eval()
        yield name, {domain: compute_loss(model, ids) for domain, ids in domains.items()}


def compute_loss(model: Any, ids: Any) -> float:
    """Return the mean loss of the next token."""
    import torch
    from torch.nn.functional import cross_entropy

    with torch.no_grad():
        logits = model(input_ids=ids).logits
    flat = logits[:, :-1].reshape(-1, logits.shape[-1])
    return float(cross_entropy(flat, ids[:, 1:].reshape(-1)))


if __name__ == "__main__":
    main()
