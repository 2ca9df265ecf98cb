"""A relocatable ELF object laid out in memory: what a linker does, for one file.

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
_NOWHERE = 0x10_0000
"""So far below the image is what is not in the file: a call ends there, where no memory is."""
_AARCH64 = 183
_RISCV = 243
_ARM_LOW_BITS = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4, 312: 3}
"""How many of the low bits are zero, and left out of the instruction."""


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


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a place is to hold, in the words of the specifications."""

    kind: int
    to: int
    """S + A: the address that is wanted."""
    here: int
    """P: the address of the place."""
    entry: int
    """Where the table of addresses holds S."""


def load_object(data: bytes, address: int) -> Image:
    """Return the image of an object file for `address`, a multiple of 4096."""
    (machine,) = struct.unpack_from("<H", data, 18)
    sections = _read_sections(data)
    memory, places = _lay_out(data, sections)
    symbols = _read_symbols(data, sections)
    addresses = []
    for number, symbol in enumerate(symbols):
        if symbol.section == _COMMON:  # `value` is the alignment here
            memory += bytes(-len(memory) % symbol.value)
            addresses.append(address + len(memory))
            memory += bytes(symbol.size)
        elif symbol.section in places:
            addresses.append(address + places[symbol.section] + symbol.value)
        else:
            addresses.append(address - _NOWHERE + 16 * number)
    memory += bytes(-len(memory) % 8)
    table = address + len(memory)
    memory += struct.pack(f"<{len(addresses)}Q", *addresses)
    relocate = {_AARCH64: _relocate_arm, _RISCV: _relocate_riscv}[machine]
    for section in sections:
        if section.kind != _RELOCATIONS or section.info not in places:
            continue
        for offset, info, addend in struct.iter_unpack("<QQq", _cut(data, section)):
            symbol_number, kind = info >> 32, info & 0xFFFF_FFFF
            place = places[section.info] + offset
            to = addresses[symbol_number] + addend
            relocate(memory, place, _Wish(kind, to, address + place, table + 8 * symbol_number))
    return Image(bytes(memory), {s.name: a for s, a in zip(symbols, addresses, strict=True)})


def _lay_out(data: bytes, sections: list[_Section]) -> tuple[bytearray, dict[int, int]]:
    """Return the sections that a program needs, and where each begins, by number."""
    names = _cut(data, sections[struct.unpack_from("<H", data, 62)[0]])
    memory, places = bytearray(), {}
    for number, section in enumerate(sections):
        is_for_exceptions = names.startswith(b".eh_frame", section.name)
        if section.flags & _IS_LOADED and section.size and not is_for_exceptions:
            memory += bytes(-len(memory) % max(section.alignment, 16))
            places[number] = len(memory)
            is_empty = section.kind == _NO_BITS
            memory += bytes(section.size) if is_empty else _cut(data, section)
    return memory, places


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
    for fields in struct.iter_unpack("<IBBHQQ", _cut(data, table)):
        name, _info, _other, section, value, size = fields
        text = names[name : names.index(0, name)].decode()
        symbols.append(_Symbol(text, section, value, size))
    return symbols


def _relocate_arm(memory: bytearray, place: int, wish: _Wish) -> None:
    kind, to = wish.kind, wish.to
    if kind in (311, 312):  # ADR_GOT_PAGE, LD64_GOT_LO12_NC
        to = wish.entry
    if kind == 257:  # ABS64
        struct.pack_into("<Q", memory, place, to)
    elif kind == 261:  # PREL32
        struct.pack_into("<i", memory, place, to - wish.here)
    elif kind in (275, 311):  # ADR_PREL_PG_HI21
        pages = (to >> 12) - (wish.here >> 12)
        _set_bits(memory, place, (pages & 3) << 29 | (pages >> 2 & 0x7_FFFF) << 5)
    elif kind in _ARM_LOW_BITS:  # ADD_ABS_LO12_NC, LDST8_ABS_LO12_NC to LDST128_ABS_LO12_NC
        _set_bits(memory, place, (to & 0xFFF) >> _ARM_LOW_BITS[kind] << 10)
    elif kind in (282, 283):  # JUMP26, CALL26
        _set_bits(memory, place, to - wish.here >> 2 & 0x3FF_FFFF)
    else:
        raise AssertionError(f"the relocation {kind} of AArch64 is not known here")


def _relocate_riscv(memory: bytearray, place: int, wish: _Wish) -> None:
    kind, to = wish.kind, wish.to
    if kind == 2:  # 64
        struct.pack_into("<Q", memory, place, to)
    elif kind == 26:  # HI20; the other half is signed
        _set_bits(memory, place, (to + 0x800 >> 12 & 0xF_FFFF) << 12)
    elif kind == 27:  # LO12_I
        _set_bits(memory, place, (to & 0xFFF) << 20)
    elif kind == 28:  # LO12_S
        _set_bits(memory, place, (to & 0xFE0) << 20 | (to & 0x1F) << 7)
    elif kind in (18, 19):  # CALL, CALL_PLT: two instructions
        distance = to - wish.here
        _set_bits(memory, place, (distance + 0x800 >> 12 & 0xF_FFFF) << 12)
        _set_bits(memory, place + 4, (distance & 0xFFF) << 20)
    else:
        raise AssertionError(f"the relocation {kind} of RISC-V is not known here")


def _set_bits(memory: bytearray, place: int, bits: int) -> None:
    (word,) = struct.unpack_from("<I", memory, place)
    struct.pack_into("<I", memory, place, word | bits)
