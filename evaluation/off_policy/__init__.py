"""Off-policy evaluation: what a policy would bring, from the log of another that explored.

    rounds, single_action      one action a round: IPS, SNIPS, DM, DR, MIPS and their relatives
    slates, slate_estimators   ordered slates: SIPS, IIPS, RIPS, PI, Cascade-DR
    reward_model               cross-fitted models of the reward, folds by user
    tuning                     thresholds chosen by the data: the least bound on the squared error
    diagnostics                what the weights say about the overlap of the two policies
    propensity, marginals      exact probabilities of logged slates under any served policy
    support                    what the logging policy could have shown instead
    replay, assessment           from a simulated log to every estimate, beside the truth
    valuation                  the same for the policies of a study, as rows of its results

Every estimator returns an `evaluation.intervals.Estimate` clustered by user: its interval is robust
to what the rounds of a user share, and `evaluation.intervals.difference` of two target policies on
one log is paired. Axis letters: N rounds or rows, A actions, B slates, K places, U users.
"""
