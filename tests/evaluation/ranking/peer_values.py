"""Fixed inputs, and what other libraries say of them: ranx, pytrec_eval and scikit-learn.

Written down from ranx 0.3.21, pytrec_eval-terrier 0.5.11 and scikit-learn 1.9.1, so that they are
checked also where these are not installed. Names are those of this project; the comments name
theirs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

B, C = 12, 30


def inputs() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores without ties and positives, [B, C] each, from a linear congruential sequence."""
    state, drawn = 12345, []
    for _ in range(2 * B * C):
        state = (1103515245 * state + 12345) % 2**31
        drawn.append(state / 2**31)
    uniform = np.array(drawn)
    share = np.array([0.03, 0.1, 0.3, 0.6])[np.arange(B) % 4, None]
    relevant = uniform[B * C :].reshape(B, C) < share
    relevant[~relevant.any(axis=1), 0] = True
    return uniform[: B * C].reshape(B, C), relevant


VALUES = {
    # ranx hit_rate@5, pytrec_eval success_5
    "hr@5": [0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1],
    # ranx recall@5, pytrec_eval recall_5
    "recall@5": [
        0, 0, 0.153846153846, 0.142857142857, 0, 0.4, 0.25, 0.166666666667, 0, 0, 0, 0.0625
    ],
    # ranx precision@5, pytrec_eval P_5
    "precision@5": [0, 0, 0.4, 0.6, 0, 0.4, 0.4, 0.6, 0, 0, 0, 0.2],
    # ranx ndcg@5, pytrec_eval ndcg_cut_5, scikit-learn ndcg_score(k=5)
    "ndcg@5": [
        0, 0, 0.360054614577, 0.639945385423, 0, 0.360054614577, 0.360054614577, 0.722726572645,
        0, 0, 0, 0.213986264735,
    ],
    # ranx ndcg, pytrec_eval ndcg
    "ndcg": [
        0.388958094368, 0.345484526029, 0.708002738519, 0.865596683742, 0.285320859478,
        0.583718066964, 0.652209016613, 0.901330781894, 0.324064957005, 0.2837314437,
        0.559610262126, 0.737591562594,
    ],
    # ranx mrr, pytrec_eval recip_rank
    "mrr": [
        0.142857142857, 0.111111111111, 0.5, 1, 0.066666666667, 0.5, 0.5, 1, 0.058823529412,
        0.066666666667, 0.125, 0.5,
    ],
    # ranx mrr@5
    "mrr@5": [0, 0, 0.5, 1, 0, 0.5, 0.5, 1, 0, 0, 0, 0.5],
    # ranx map, pytrec_eval map, scikit-learn average_precision_score
    "ap": [
        0.18253968254, 0.106607514956, 0.456124129494, 0.675918205899, 0.075, 0.304912280702,
        0.386808536214, 0.699036497082, 0.098311546841, 0.073333333333, 0.314783735422,
        0.529483227331,
    ],
    # ranx map@5, pytrec_eval map_cut_5
    "ap@5": [
        0, 0, 0.076923076923, 0.107936507937, 0, 0.2, 0.125, 0.166666666667, 0, 0, 0, 0.03125
    ],
    # scikit-learn roc_auc_score
    "query_auc": [
        0.767857142857, 0.37037037037, 0.502262443439, 0.407407407407, 0.357142857143, 0.528,
        0.636363636364, 0.513888888889, 0.345679012346, 0.339285714286, 0.455, 0.508928571429,
    ],
}  # fmt: skip
"""Metric -> value of each request [B], to 12 digits."""
