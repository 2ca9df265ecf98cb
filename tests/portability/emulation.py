"""Kernels on an emulated processor, called from Python as if they ran on this one."""

from __future__ import annotations

import ctypes
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.core.caching import NullCache
from numba.core.registry import CPUDispatcher
from numba.core.types.containers import BaseTuple
from unicorn import arm64_const, riscv_const, unicorn_const
from unicorn.unicorn_py3.unicorn import Uc, UcError

from portability.object_file import load_object
from portability.retargeting import ARM64, ENTRY, RISCV64, Compiled, Target, compile_for

_CODE = 0x1000_0000
_WORDS = 0x2000_0000
_STACK_TOP = 0x2800_0000
_HEAP = 0x3000_0000
"""Its first word is the address of free memory: see runtime.ll."""
_ARRAYS = 0x4000_0000
_END = 0x0FFF_0000
"""Where the kernel returns to, and the emulator stops."""
_MIB = 1 << 20
_LONGEST = 120_000_000
"""Microseconds for one call."""
EMULATED = {target.name: target for target in (ARM64, RISCV64)}


class Machine:
    """A processor with one kernel in its memory."""

    def __init__(self, target: Target, compiled: Compiled) -> None:
        self.compiled = compiled
        image = load_object(compiled.object_file, _CODE)
        self._symbols = image.symbols
        if target is ARM64:
            self._emulator = Uc(unicorn_const.UC_ARCH_ARM64, unicorn_const.UC_MODE_ARM)
            registers = arm64_const
            self._place = registers.UC_ARM64_REG_PC
            self._first, self._stack, self._return = (
                registers.UC_ARM64_REG_X0,
                registers.UC_ARM64_REG_SP,
                registers.UC_ARM64_REG_LR,
            )
            # Vectors and floating point trap unless FPEN is set.
            self._emulator.reg_write(registers.UC_ARM64_REG_CPACR_EL1, 3 << 20)
        elif target is RISCV64:
            self._emulator = Uc(unicorn_const.UC_ARCH_RISCV, unicorn_const.UC_MODE_RISCV64)
            self._place = riscv_const.UC_RISCV_REG_PC
            self._first, self._stack, self._return = (
                riscv_const.UC_RISCV_REG_A0,
                riscv_const.UC_RISCV_REG_SP,
                riscv_const.UC_RISCV_REG_RA,
            )
            # Floating point is off unless FS says that its registers are in use.
            self._emulator.reg_write(riscv_const.UC_RISCV_REG_MSTATUS, 3 << 13)
        else:
            raise AssertionError(f"{target.name} is not emulated")
        for start, size in (
            (_END, 4096),
            (_CODE, -(-len(image.memory) // 4096) * 4096),
            (_WORDS, 4096),
            (_STACK_TOP - _MIB, _MIB),
            (_HEAP, 64 * _MIB),
            (_ARRAYS, 64 * _MIB),
        ):
            self._emulator.mem_map(start, size)
        self._emulator.mem_write(_CODE, image.memory)

    def call(self, arguments: Sequence[Any], kinds: Sequence[Any]) -> Any:
        """Run the kernel on arguments of numba's types `kinds`; arrays change in place."""
        memory = self._emulator
        shared = _SharedMemory([value for value in arguments if isinstance(value, np.ndarray)])
        for address, piece in shared.pieces:
            memory.mem_write(address, bytes(piece))
        values = [
            word
            for value, kind in zip(arguments, kinds, strict=True)
            for word in _flatten(value, kind, shared)
        ]
        answer = _WORDS + 2048
        words = [answer, answer + 1024, *values, 0xFFFF]
        if len(words) != len(self.compiled.argument_types) + 1:
            raise AssertionError("the arguments do not fit the compiled function")
        memory.mem_write(_WORDS, struct.pack(f"<{len(words)}Q", *words))
        memory.mem_write(_HEAP, struct.pack("<Q", _HEAP + 64))
        memory.reg_write(self._first, _WORDS)
        memory.reg_write(self._stack, _STACK_TOP - 64)
        memory.reg_write(self._return, _END)
        self._run()
        (status,) = self._read_words(_WORDS + 8 * (len(words) - 1), 1)
        if status:
            raise AssertionError(f"the kernel raised {self._read_exception(answer + 1024)}")
        for address, piece in shared.pieces:
            piece[:] = memory.mem_read(address, len(piece))
        return self._read_answer(answer, self.compiled.return_type)

    def _run(self) -> None:
        try:
            self._emulator.emu_start(self._symbols[ENTRY], _END, timeout=_LONGEST)
        except UcError as error:
            place = self._emulator.reg_read(self._place)
            missing = [name for name, address in self._symbols.items() if address == place]
            raise AssertionError(f"the kernel stopped at {place:#x} ({missing})") from error
        if self._emulator.reg_read(self._place) != _END:
            raise AssertionError("the kernel takes longer than a call may")

    def _read_exception(self, address: int) -> object:
        """Return the class and arguments of an exception that is raised with constant ones."""
        (place,) = self._read_words(address, 1)
        start, size = self._read_words(place, 2)
        data = self._emulator.mem_read(start, size & 0xFFFF_FFFF)
        return pickle.loads(data)  # noqa: S301 - numba wrote it into the kernel

    def _read_words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}Q", self._emulator.mem_read(address, 8 * count))

    def _read_answer(self, address: int, kind: Any) -> Any:
        if kind is types.none:
            return None
        if isinstance(kind, BaseTuple):
            return tuple(
                self._read_answer(address + 8 * number, part) for number, part in enumerate(kind)
            )
        if isinstance(kind, types.Array):
            words = self._read_words(address, 5 + kind.ndim)
            dtype, shape = np.dtype(str(kind.dtype)), words[5:]
            data = self._emulator.mem_read(words[4], dtype.itemsize * int(np.prod(shape)))
            return np.frombuffer(data, dtype).reshape(shape).copy()
        (word,) = self._read_words(address, 1)
        if isinstance(kind, types.Boolean):
            return bool(word & 1)
        code = {types.float64: "<d", types.int64: "<q", types.uint64: "<Q"}[kind]
        return struct.unpack(code, struct.pack("<Q", word))[0]


class _SharedMemory:
    """Where the bytes of arrays are for the emulator; overlapping ones are copied as one piece."""

    def __init__(self, arrays: Sequence[np.ndarray]) -> None:
        bounds = sorted(np.lib.array_utils.byte_bounds(array) for array in arrays if array.size)
        self._pieces: list[list[int]] = []
        for low, high in bounds:
            if self._pieces and low < self._pieces[-1][1]:
                self._pieces[-1][1] = max(high, self._pieces[-1][1])
            else:
                self._pieces.append([low, high])
        self._starts = []
        self.pieces = []
        address = _ARRAYS
        for low, high in self._pieces:
            # As far from a border of 64 bytes as on this machine.
            start = address + low % 64
            self._starts.append(start)
            self.pieces.append((start, _view(low, high - low)))
            address = -(-(start + high - low) // 64) * 64

    def find(self, array: np.ndarray) -> int:
        """Return the address of the first element."""
        here = array.ctypes.data
        for (low, high), start in zip(self._pieces, self._starts, strict=True):
            if low <= here < high:
                return start + here - low
        return _ARRAYS  # it is empty


def _view(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


def _flatten(value: Any, kind: Any, shared: _SharedMemory) -> list[int]:
    """Return the 64-bit words that numba passes for an argument."""
    if isinstance(kind, types.Array):
        shape = [int(length) for length in value.shape]
        strides = [int(stride) & (2**64 - 1) for stride in value.strides]
        return [0, 0, value.size, value.itemsize, shared.find(value), *shape, *strides]
    if isinstance(kind, BaseTuple):
        return [
            word
            for part, its_kind in zip(value, kind, strict=True)
            for word in _flatten(part, its_kind, shared)
        ]
    if isinstance(kind, types.Float):
        return list(struct.unpack("<Q", struct.pack("<d", value)))
    return [int(value) & (2**64 - 1)]


class EmulatedKernel(CPUDispatcher):  # type: ignore[misc] # numba has no types
    """A kernel that numba can call from another as ever, and that Python calls in the emulator."""

    target = ARM64

    def __call__(self, *arguments: Any) -> Any:
        """Run the kernel, compiled for the types of `arguments`, in the emulator."""
        kinds = tuple(numba.typeof(value) for value in arguments)
        machine = self._machines.get(kinds)
        if machine is None:
            machine = Machine(self.target, compile_for(self.target, self, kinds))
            self._machines[kinds] = machine
        return machine.call(arguments, kinds)


def emulate_kernels(target: Target) -> None:
    """Let all kernels that are imported from now on run in an emulator of `target`."""
    from plait.algebra.kernels import compiled

    compile_here: Callable[[Any], Any] = compiled.kernel
    EmulatedKernel.target = target

    def emulated(function: Any) -> Any:
        dispatcher = compile_here(function)
        dispatcher._cache = NullCache()
        dispatcher.__class__ = EmulatedKernel
        dispatcher._machines = {}
        return dispatcher

    compiled.kernel = emulated
