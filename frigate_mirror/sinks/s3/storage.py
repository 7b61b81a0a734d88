"""AWS's storage classes: what they cost, and which one `AUTO` chooses.

The prices are US dollars without tax and without the free tier, from
https://aws.amazon.com/s3/pricing/. They leave out what reading costs. A GB has 2**30 bytes, as on
AWS's bills. AWS bills at least 128 KB and at least 30 days for each object in STANDARD_IA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PRICES_OF = "us-east-1, 2026"
GB = 2**30


@dataclass(frozen=True, slots=True)
class StorageClass:
    """`put` is the price of one upload, `gb_month` that of a GB that is stored for a month, and
    `least` is how many bytes AWS bills for a smaller object."""

    name: str
    put: float
    gb_month: float
    least: int = 0

    def upload(self, sizes: Sequence[int]) -> float:
        """Returns the price of uploading objects of these sizes."""
        return self.put * len(sizes)

    def month(self, sizes: Sequence[int]) -> float:
        """Returns the price of storing objects of these sizes for a month."""
        return self.gb_month * sum(max(size, self.least) for size in sizes) / GB


STANDARD = StorageClass("STANDARD", put=0.005 / 1_000, gb_month=0.023)
STANDARD_IA = StorageClass("STANDARD_IA", put=0.01 / 1_000, gb_month=0.0125, least=128 * 1024)


def auto(size: int) -> str:
    """Returns the class that `AUTO` chooses for an object of `size` bytes: the one that does not
    bill bytes which are not there, and STANDARD_IA where that is true of both."""
    return STANDARD.name if size < STANDARD_IA.least else STANDARD_IA.name


def break_even(sizes: Sequence[int]) -> float | None:
    """Returns how many months objects of these sizes must be kept until STANDARD_IA, which costs
    more to upload, has cost less than STANDARD; at least 1. Returns None if that never happens."""
    saved = STANDARD.month(sizes) - STANDARD_IA.month(sizes)
    if saved <= 0:
        return None
    return max(1.0, (STANDARD_IA.upload(sizes) - STANDARD.upload(sizes)) / saved)
