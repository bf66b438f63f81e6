"""Labels that are probably wrong, by confident learning (Northcutt et al. 2021, arXiv:1911.00068).

The probabilities must come from a model that was not trained on the images. Those in the journal
do: it records what a model answered before the image could be collected.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

LEAST = 50  # images; fewer say too little about how often a label is wrong


def doubtful(labels: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether each label [N] is probably wrong, given a model's probabilities [N, classes].

    None is, if there are fewer than LEAST images or only one class, and few are in a class of few
    images.
    """
    if len(labels) < LEAST or len(np.unique(labels)) < 2:
        return np.zeros(len(labels), bool)
    from cleanlab.filter import find_label_issues  # takes seconds to import

    rows = probabilities.astype(np.float64)
    rows /= rows.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():  # one for each class of few images
        warnings.filterwarnings("ignore", category=UserWarning, module="cleanlab")
        found = find_label_issues(labels.astype(np.int64), rows, filter_by="both", n_jobs=1)
    return np.asarray(found, bool)
