"""How far offline numbers can be trusted: every metric and estimator beside the true online value.

methods   numbers that a log gives for a policy: metrics full, sampled, corrected; estimators
pairs     every two policies of a world: what each method says of them, and what is true
verdicts  how often a method is right, and which kind of error it owes its mistakes to
study     worlds, seeds and policies, one contest after the other
"""
