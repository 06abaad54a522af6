"""The population stability index."""

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr


def population_stability_index(expected: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Compares two histograms, given as counts over the same bins.

    It is the symmetric Kullback-Leibler divergence, so SciPy has its terms. Half an observation
    in every bin keeps an empty one from being infinitely surprising.
    """
    p = np.asarray(expected, dtype=np.float64) + 0.5
    q = np.asarray(actual, dtype=np.float64) + 0.5
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(rel_entr(p, q) + rel_entr(q, p)))
