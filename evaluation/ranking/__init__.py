"""Ranking metrics: ranks by counting, metrics on them, and what sampling candidates does to both.

ranks              where each positive stands among all candidates
metrics            metrics of one positive's rank
lists              metrics of requests with any number of positives
sampled            the same against sampled negatives, in exact expectation
draws              the negatives themselves, the same for every policy
corrections        what to report for a sampled rank instead of the metric itself
combinations       how many ways there are to draw, or to stand
profile            the distribution of ranks behind sampled ranks, by EM
cutoffs            which cut-off of the full list a cut-off of the sampled list stands for
sampling_fidelity  how close sampled and corrected metrics come to full ones, in value and in order
"""
