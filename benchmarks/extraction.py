"""What LoRAs extracted from a full fine-tune keep of it, against their rank.

    python benchmarks/extraction.py [--zoo ../shared/data/zoo] [--threads 2]

Of a real full fine-tune (a Llama of 5.4M parameters, tuned on C++): the part of the squared norm of
its change that each rank keeps, the size of the file, and the loss on held-out C++ text beside that
of the base and of the full fine-tune itself, all in float32 by PEFT. The text is that of the demo's
held-out tokens, tokenised anew for this model. Needs torch, transformers and peft.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from machine import describe

from plait.algebra.extract import ExtractOptions
from plait.extract import ExtractedFolder, ExtractWish, extract_to_folder
from plait.extract_folder import ModelPair
from plait.model.commit import Base

CHECKOUT = Path(__file__).resolve().parents[1]
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ENERGIES = (0.5, 0.9, 0.99)
TEXTS = ("cpp", "python")
LENGTH = 128
"""Tokens a sequence."""


def main() -> None:
    """Extract at every size and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--zoo", type=Path, default=CHECKOUT.parent / "shared" / "data" / "zoo")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(describe("plait", "numpy", "numba", "torch", "peft", "transformers"))
    pair = ModelPair(arguments.zoo / "base", arguments.zoo / "full-ft-cpp")
    tokens = {name: tokenise(pair.base, text) for name, text in read_texts().items()}
    before, after = (measure_losses(folder, tokens) for folder in (pair.base, pair.tuned))
    print(
        f"{'':18} {'kept':>8} {'MB':>6} {'ranks':>9} "
        + " ".join(f"{name + ' loss':>11}" for name in TEXTS)
        + f" {'of the gain':>12}"
    )
    print_row("base", {}, before, before, after)
    for title, options in list_sizes():
        with tempfile.TemporaryDirectory() as folder:
            wish = ExtractWish(
                pair=pair, options=options, base=Base("zoo/base"), threads=arguments.threads
            )
            made = extract_to_folder(wish, Path(folder))
            losses = measure_losses(pair.base, tokens, Path(folder))
            print_row(title, describe_adapter(made, Path(folder)), losses, before, after)
    print_row("full fine-tune", {}, after, before, after)


def list_sizes() -> Iterator[tuple[str, ExtractOptions]]:
    """Yield what the table has a row for."""
    for rank in RANKS:
        yield f"rank {rank}", ExtractOptions(rank=rank)
    for energy in ENERGIES:
        yield f"energy {energy:g}", ExtractOptions(energy=energy)
    yield "rank 32, BF16", ExtractOptions(rank=32, dtype="BF16")
    yield "rank 32, no norms", ExtractOptions(rank=32, is_rest_left_out=True)


def describe_adapter(made: ExtractedFolder, folder: Path) -> Mapping[str, str]:
    """Return the figures of an extracted adapter."""
    ranks = [module.rank for module in made.adapter.modules if module.rank]
    size = (folder / "adapter_model.safetensors").stat().st_size / 1e6
    return {
        "kept": f"{made.adapter.kept:.2%}",
        "size": f"{size:.1f}",
        "ranks": f"{min(ranks)}-{max(ranks)}" if min(ranks) < max(ranks) else f"{ranks[0]}",
    }


def print_row(
    title: str,
    figures: Mapping[str, str],
    losses: Mapping[str, float],
    before: Mapping[str, float],
    after: Mapping[str, float],
) -> None:
    """Print a row; the gain is how far the loss on C++ went from the base's to the tuned one's."""
    gain = (before["cpp"] - losses["cpp"]) / (before["cpp"] - after["cpp"])
    print(
        f"{title:18} {figures.get('kept', ''):>8} {figures.get('size', ''):>6} "
        f"{figures.get('ranks', ''):>9} "
        + " ".join(f"{losses[name]:11.4f}" for name in TEXTS)
        + f" {gain:12.1%}",
        flush=True,
    )


def read_texts() -> dict[str, list[str]]:
    """Return the demo's held-out texts."""
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    micro = CHECKOUT / "examples" / "micro"
    tokenizer = Tokenizer.from_file(str(micro / "base" / "tokenizer.json"))
    tokens = load_file(micro / "heldout_tokens.safetensors")
    return {name: tokenizer.decode_batch(tokens[name].tolist()) for name in TEXTS}


def tokenise(model: Path, texts: list[str]) -> Any:
    """Return texts as sequences of `LENGTH` tokens of a model; shorter ones are left out."""
    import torch
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    joined = [token for text in texts for token in tokenizer.encode(text).ids]
    rows = len(joined) // LENGTH
    return torch.tensor(joined[: rows * LENGTH]).reshape(rows, LENGTH)


def measure_losses(
    folder: Path, tokens: Mapping[str, Any], adapter: Path | None = None
) -> dict[str, float]:
    """Return a model's mean loss a token on each text, in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    with torch.no_grad():
        return {
            name: float(model(input_ids=rows, labels=rows).loss) for name, rows in tokens.items()
        }


if __name__ == "__main__":
    main()
