"""The frame of a bundle: a plain tar archive of which every byte outside the members is known.

Any tar program lists and unpacks it. plait itself reads no tar: the first member says which others
follow, so each header is written anew and compared with the one that is there, and so is the
padding. Links, devices, sparse members, paths, owners, second headers of one name and whatever
else tar allows therefore cannot occur in a bundle that is read.

Form: POSIX.1-1988 ustar headers of regular files, mode 0644, owner 0, time 0. A size of 8 GiB or
more, which the field's 11 octal digits cannot hold, is written in GNU's binary form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plait.errors import InvalidInput

BLOCK = 512
END = bytes(2 * BLOCK)
"""Two blocks of zeros end an archive."""
LONGEST_NAME = 100

_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_LARGEST_OCTAL = 8**11 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside the archive."""

    name: str
    """ASCII, at most 100 characters."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class PlacedMember:
    """A member and where its bytes begin in the archive."""

    member: Member
    at: int

    @property
    def end(self) -> int:
        """Where its bytes end; padding follows up to the next block."""
        return self.at + self.member.size


def make_header(member: Member) -> bytes:
    """Return the one block that stands before the bytes of a member."""
    size = b"%011o\0" % member.size
    if member.size > _LARGEST_OCTAL:
        size = b"\x80" + member.size.to_bytes(11, "big")
    fields = (
        member.name.encode("ascii").ljust(LONGEST_NAME, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0" * 2,  # user and group
        size,
        b"0" * 11 + b"\0",  # time
        b" " * 8,  # the checksum counts itself as spaces
        b"0",  # a regular file
        b"\0" * 100,  # no link
        b"ustar\x0000",
        b"\0" * 64,  # no names of user and group
        b"0000000\0" * 2,  # no device
        b"\0" * 167,
    )
    header = bytearray(b"".join(fields))
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def padding(size: int) -> bytes:
    """Return the zeros that fill the last block of a member of `size` bytes."""
    return bytes(-size % BLOCK)


def read_first_size(header: bytes, name: str) -> int:
    """Return the size of the first member, which must have that name.

    Raises:
        InvalidInput: `invalid-bundle`, the file does not begin as a bundle does.
    """
    digits = header[_SIZE].rstrip(b"\0")
    if digits.isdigit() and len(digits) == 11 and not digits.strip(b"01234567"):
        size = int(digits, 8)
        if make_header(Member(name, size)) == header:
            return size
    raise InvalidInput("invalid-bundle", "The file is not a bundle of plait, or it is damaged.")


def place(members: Iterable[Member]) -> list[PlacedMember]:
    """Return where the bytes of each member lie when they follow one another from the start."""
    placed = []
    position = 0
    for member in members:
        position += BLOCK
        placed.append(PlacedMember(member, position))
        position += member.size + len(padding(member.size))
    return placed


def archive_size(placed: PlacedMember) -> int:
    """Return the bytes of an archive that ends with this member."""
    return placed.end + len(padding(placed.member.size)) + len(END)
