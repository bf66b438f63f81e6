"""A limit on what one client contributes, so that no single client decides what is learned."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def within_cap(clients: Sequence[str], trusted: Sequence[bool], cap: int) -> NDArray[np.bool_]:
    """Whether each image [N], in the order of age, is among the first `cap` of its client.

    Images whose label is trusted are always within, and do not count.
    """
    counts: Counter[str] = Counter()
    within = np.ones(len(clients), bool)
    for number, (client, known) in enumerate(zip(clients, trusted, strict=True)):
        if not known:
            counts[client] += 1
            within[number] = counts[client] <= cap
    return within
