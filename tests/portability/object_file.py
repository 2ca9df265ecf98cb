"""A relocatable ELF object laid out in memory: what a linker does, for one file without externs.

The sections that a program needs while it runs are put one behind the other, and the places that
name a symbol are filled in. "ELF for the Arm 64-bit Architecture" and "RISC-V ABIs Specification"
define the relocations; those that LLVM emits for a static program of less than 2 GiB are here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_IS_LOADED = 0x2
_NO_BITS = 8
_SYMBOLS = 2
_RELOCATIONS = 4
_COMMON = 0xFFF2


@dataclass(frozen=True, slots=True)
class Image:
    """Bytes to be put at the address that they were made for, and where functions are."""

    memory: bytes
    symbols: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    section: int
    value: int
    size: int


def load_object(data: bytes, address: int) -> Image:
    """Return the image of an object file for `address`, a multiple of 4096."""
    sections = _read_sections(data)
    memory, places = _lay_out(data, sections)
    symbols = _read_symbols(data, sections)
    addresses: list[int | None] = []
    for symbol in symbols:
        if symbol.section == _COMMON:  # `value` is the alignment here
            memory += bytes(-len(memory) % symbol.value)
            addresses.append(address + len(memory))
            memory += bytes(symbol.size)
        else:
            place = places.get(symbol.section)
            addresses.append(None if place is None else address + place + symbol.value)
    for section in sections:
        if section.kind != _RELOCATIONS or section.info not in places:
            continue
        for offset, info, addend in struct.iter_unpack("<QQq", _cut(data, section)):
            to = addresses[info >> 32]
            if to is None:
                raise AssertionError(f"{symbols[info >> 32].name} is asked for and not here")
            place = places[section.info] + offset
            _relocate(memory, place, _Wish(_machine(data), info & 0xFFFF_FFFF, to + addend, address + place))
    names = {s.name: a for s, a in zip(symbols, addresses, strict=True) if s.name and a}
    return Image(bytes(memory), names)


def _lay_out(data: bytes, sections: list[_Section]) -> tuple[bytearray, dict[int, int]]:
    """Return the sections that a program needs, and where each begins, by number."""
    names = _cut(data, sections[struct.unpack_from("<H", data, 62)[0]])
    memory, places = bytearray(), {}
    for number, section in enumerate(sections):
        is_for_debuggers = names.startswith(b".eh_frame", section.name)
        if section.flags & _IS_LOADED and section.size and not is_for_debuggers:
            memory += bytes(-len(memory) % max(section.alignment, 16))
            places[number] = len(memory)
            is_empty = section.kind == _NO_BITS
            memory += bytes(section.size) if is_empty else _cut(data, section)
    return memory, places


def _machine(data: bytes) -> int:
    return int(struct.unpack_from("<H", data, 18)[0])


def _cut(data: bytes, section: _Section) -> bytes:
    return data[section.offset : section.offset + section.size]


def _read_sections(data: bytes) -> list[_Section]:
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    return [
        _Section(*struct.unpack_from("<IIQQQQIIQQ", data, start + size * number))
        for number in range(count)
    ]


def _read_symbols(data: bytes, sections: list[_Section]) -> list[_Symbol]:
    table = next(section for section in sections if section.kind == _SYMBOLS)
    names = _cut(data, sections[table.link])
    symbols = []
    for name, _info, _other, section, value, size in struct.iter_unpack(
        "<IBBHQQ", _cut(data, table)
    ):
        text = names[name : names.index(0, name)].decode()
        symbols.append(_Symbol(text, section, value, size))
    return symbols


@dataclass(frozen=True, slots=True)
class _Wish:
    machine: int
    kind: int
    to: int
    """The address that is wanted: S + A of the specifications."""
    here: int
    """The address of the place: P."""


def _relocate(memory: bytearray, place: int, wish: _Wish) -> None:
    """Fill one address in."""
    kind, to, distance = wish.kind, wish.to, wish.to - wish.here
    if wish.machine == _AARCH64:
        if kind == 257:  # ABS64
            struct.pack_into("<Q", memory, place, to)
        elif kind == 261:  # PREL32
            struct.pack_into("<i", memory, place, distance)
        elif kind == 275:  # ADR_PREL_PG_HI21
            pages = (to >> 12) - (wish.here >> 12)
            _add(memory, place, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)
        elif kind in _ARM_LOW_BITS:  # ADD_ABS_LO12_NC, LDST*_ABS_LO12_NC
            _add(memory, place, (to & 0xFFF) >> _ARM_LOW_BITS[kind] << 10)
        elif kind in (282, 283):  # JUMP26, CALL26
            _add(memory, place, distance >> 2 & 0x3FFFFFF)
        else:
            raise AssertionError(f"relocation {kind} is not known here")
    elif wish.machine == _RISCV:
        high = to + 0x800 >> 12 & 0xFFFFF
        if kind == 2:  # 64
            struct.pack_into("<Q", memory, place, to)
        elif kind == 26:  # HI20
            _add(memory, place, high << 12)
        elif kind == 27:  # LO12_I
            _add(memory, place, (to & 0xFFF) << 20)
        elif kind == 28:  # LO12_S
            _add(memory, place, (to & 0xFE0) << 20 | (to & 0x1F) << 7)
        elif kind in (18, 19):  # CALL, CALL_PLT: auipc and jalr
            _add(memory, place, (distance + 0x800 >> 12 & 0xFFFFF) << 12)
            _add(memory, place + 4, (distance & 0xFFF) << 20)
        else:
            raise AssertionError(f"relocation {kind} is not known here")


_AARCH64 = 183
_RISCV = 243
_ARM_LOW_BITS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
"""How many of the low bits are zero, and left out of the instruction."""


def _add(memory: bytearray, place: int, bits: int) -> None:
    (word,) = struct.unpack_from("<I", memory, place)
    struct.pack_into("<I", memory, place, word | bits)
