"""Rows that show the same thing: they are kept on one side of a split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def tied_rows(
    values: NDArray[np.uint64], owners: NDArray[np.int64], keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """For each row, the least value of all rows that it is tied to, also by way of others.

    values: [n], of each row. owners, keys: [m], what each row shows: rows that have a key in common are tied.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known, place = np.unique(keys, return_inverse=True)
    if len(known) == len(keys):  # nothing is shown twice
        return values
    size = len(values) + len(known)
    ties = coo_array((np.ones(len(keys), np.int8), (owners, len(values) + place)), shape=(size, size))
    _, component = connected_components(ties, directed=False)
    least = np.full(size, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, component[: len(values)], values)
    return least[component[: len(values)]]
