"""Kernels compiled for another instruction set: from numba's own LLVM code to an object file.

numba turns a kernel into LLVM's language before anything depends on a processor. That text is read
again for another target, and takes LLVM's way of optimising at level 3 with vectors, as numba does.
NUMBA_OPT has to be 0, or numba would have optimised it for this machine before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba

RUNTIME = (Path(__file__).parent / "runtime.ll").read_text()
ENTRY = "plait_entry"


@dataclass(frozen=True, slots=True)
class Target:
    """An instruction set to compile for."""

    name: str
    triple: str
    cpu: str
    features: str = ""

    def make_machine(self) -> llvm.TargetMachine:
        """Return LLVM's compiler for it."""
        _initialize()
        return llvm.Target.from_triple(self.triple).create_target_machine(
            cpu=self.cpu, features=self.features, opt=3, reloc="static", codemodel="small"
        )


ARM64 = Target("arm64", "aarch64-unknown-linux-gnu", "generic")
RISCV64 = Target("riscv64", "riscv64-unknown-linux-gnu", "generic-rv64", "+m,+a,+f,+d,+c")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A kernel for one combination of argument types and one target."""

    object_file: bytes
    """Has the function ENTRY, which takes the address of 64-bit words: where to put the outcome,
    where to put an exception, the arguments; a last word is for the status, 0 where all went well.
    """
    argument_types: tuple[str, ...]
    """In LLVM's language, of all words but the last."""
    return_type: Any
    """In numba's."""


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def compile_for(target: Target, kernel: Any, types: tuple[Any, ...]) -> Compiled:
    """Compile `kernel`, a numba dispatcher, for arguments of numba's types `types`."""
    if numba.config.OPT.is_opt_max or int(numba.config.OPT) != 0:
        raise AssertionError("set NUMBA_OPT=0: this is what the target's own compiler starts from")
    kernel.compile(types)
    outcome = kernel.overloads[types]
    text = outcome.library.get_llvm_str()
    machine = target.make_machine()
    module = _read(text, target, machine)
    function = module.get_function(outcome.fndesc.llvm_func_name)
    argument_types = tuple(str(argument.type) for argument in function.arguments)
    module.link_in(_read(_make_entry(function.name, argument_types), target, machine))
    module.link_in(_read(RUNTIME, target, machine))
    for function in module.functions:
        # The compiler's last step puts calls of these in, so they have to be there by then.
        is_needed = function.name in {ENTRY, "memset", "memcpy", "sqrt"}
        if not function.is_declaration and not is_needed:
            function.linkage = "internal"
    _optimise(module, machine)
    return Compiled(
        object_file=machine.emit_object(module),
        argument_types=argument_types,
        return_type=outcome.signature.return_type,
    )


def _read(text: str, target: Target, machine: llvm.TargetMachine) -> llvm.ModuleRef:
    """Return a module for the target, whatever the text was for."""
    bare = re.sub(r"^target (triple|datalayout).*\n", "", text, flags=re.MULTILINE)
    module = llvm.parse_assembly(bare)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    return module


def _make_entry(name: str, types: tuple[str, ...]) -> str:
    """Return a function that loads the arguments from memory: no target's way of passing them."""
    lines = [f'declare i32 @"{name}"({", ".join(types)})', f"define void @{ENTRY}(ptr %words) {{"]
    for number, kind in enumerate((*types, "i64")):
        lines.append(f"  %place{number} = getelementptr i64, ptr %words, i64 {number}")
        if number < len(types):
            lines.append(f"  %value{number} = load {kind}, ptr %place{number}")
    values = ", ".join(f"{kind} %value{number}" for number, kind in enumerate(types))
    lines += [
        f'  %status = call i32 @"{name}"({values})',
        "  %wide = zext i32 %status to i64",
        f"  store i64 %wide, ptr %place{len(types)}",
        "  ret void",
        "}",
    ]
    return "\n".join(lines)


def _optimise(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
