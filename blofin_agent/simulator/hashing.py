"""Chance that is a function of its argument: the same number for the same place, for ever."""

import hashlib

_MASK = (1 << 64) - 1
_UNIT = 1 / (1 << 53)


def hash_integer(place: int) -> int:
    """Return 64 well-mixed bits for an integer of any size.

    Source: splitmix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
    """
    x = (place + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def hash_fraction(place: int) -> float:
    """Return a float in [0, 1) for an integer of any size."""
    return (hash_integer(place) >> 11) * _UNIT


def name_key(seed: int, name: str) -> int:
    """Return the 64-bit key of a name under a seed; the place all of its chance starts from."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
