import hashlib

import numpy as np
import pytest

from plait.algebra.counter_random import uniforms
from plait.algebra.kernels.philox import generate_block

# Random123's kat_vectors for philox4x32-10: counter, key, output.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_published_words(
    counter: tuple[int, ...], key: tuple[int, ...], words: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = (np.uint64(word) for word in counter)
    k0, k1 = (np.uint64(word) for word in key)
    assert tuple(int(word) for word in generate_block((c0, c1, c2, c3), (k0, k1))) == words


@pytest.mark.parametrize(("start", "count"), [(0, 0), (0, 1), (1, 1), (1, 2), (7, 30), (36, 1)])
def test_a_piece_has_the_numbers_of_the_whole(start: int, count: int) -> None:
    whole = uniforms(5, "model.q_proj", 2, 37)
    piece = uniforms(5, "model.q_proj", 2, count, start=start)
    assert piece.tobytes() == whole[start : start + count].tobytes()


def test_places_beyond_32_bits_are_their_own() -> None:
    far = uniforms(5, "x", 0, 4, start=2**34)
    assert not np.array_equal(far, uniforms(5, "x", 0, 4))


def test_numbers_are_multiples_of_2_to_the_minus_53_below_one() -> None:
    drawn = uniforms(1, "x", 0, 20_000)
    assert drawn.min() >= 0.0
    assert drawn.max() < 1.0
    assert np.array_equal(drawn * 2.0**53, np.floor(drawn * 2.0**53))
    # Six standard deviations of the mean and of the share below a quarter.
    assert abs(drawn.mean() - 0.5) < 6 * (1 / 12 / drawn.size) ** 0.5
    assert abs((drawn < 0.25).mean() - 0.25) < 6 * (0.25 * 0.75 / drawn.size) ** 0.5


@pytest.mark.parametrize("other", [(2, "x", 0), (1, "y", 0), (1, "x", 1), (-1, "x", 0)])
def test_another_seed_name_or_stream_gives_other_numbers(other: tuple[int, str, int]) -> None:
    assert not np.isin(uniforms(*other, 50), uniforms(1, "x", 0, 50)).any()


def test_numbers_stay_what_they_are() -> None:
    data = uniforms(20261124, "base_model.model.q_proj", 3, 1000).astype("<f8").tobytes()
    assert hashlib.sha256(data).hexdigest() == GOLDEN


GOLDEN = "fb542599570f0df33d2000630b6e8930feeb0df236774072d15d40714e014626"
