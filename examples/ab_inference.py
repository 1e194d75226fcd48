"""An experiment of one's own, from arrays of one row a user: gate, effects, looks and power."""

import numpy as np

from evaluation.ab import gates, multiplicity, planning, power, sequential
from evaluation.ab.effect import Effect, split_effect
from evaluation.ab.panel import Panel


def users(n: int, lift: float) -> tuple[np.ndarray, dict[str, Panel]]:
    """Stand in for one's own data: who is treated, sums of this week and of the one before."""
    rng = np.random.default_rng(0)
    treated, taste, one = rng.random(n) < 0.5, rng.beta(2.0, 8.0, n), np.ones(n)
    seen, before = (rng.poisson(rng.lognormal(2.0, 0.7, n)) + 1.0 for _ in range(2))
    clicks = rng.binomial(seen.astype(int), taste * (1.0 + lift * treated)) * 1.0
    past = rng.binomial(before.astype(int), taste) * 1.0
    return treated, {"ctr": Panel(clicks, seen, past, before), "views": Panel(seen, one)}


def main(n: int = 20_000, lift: float = 0.03) -> tuple[gates.Gate, dict[str, Effect], np.ndarray]:
    """Return the gate, effects, and both ends of the sequence at each look [2, L]; print all."""
    treated, panels = users(n, lift)
    gate = gates.sample_ratio(np.bincount(treated).tolist(), (0.5, 0.5))
    print(f"{gate.name}: {gate.reason}")
    found = {name: split_effect(panel, treated, name, "lift") for name, panel in panels.items()}
    adjusted = multiplicity.holm(np.array([effect.p_value for effect in found.values()]))
    y, x = (np.column_stack([p.columns[:, i] for p in panels.values()]) for i in (0, 1))
    arms = [(y * arm[:, None], x * arm[:, None]) for arm in (treated, ~treated)]
    jointly = multiplicity.joint_differences(*arms, draws=1000).max_t()
    print(f"p of {', '.join(found)}: Holm {adjusted.round(3)}, max-t {jointly.round(3)}")
    found["ctr, CUPED"] = split_effect(panels["ctr"], treated, "ctr", "lift", cuped=True)
    for name, own in found.items():
        print(f"{name:10s} {own.estimate:+.1%} ({own.low:+.1%} to {own.high:+.1%}), ", end="")
        print(f"finds {np.expm1(power.minimum_detectable(own.standard_error)):.1%} in 80 %")
    flow = sequential.effect_stream(panels["ctr"].numerator, treated, share=0.5)
    known = sequential.stream(flow, np.arange(1000, n + 1, 1000))
    ends = np.array(sequential.confidence_sequence(known, planned=n))
    print(f"clicks a user, however often one looks: {ends[0, -1]:+.2f} to {ends[1, -1]:+.2f}")
    same = users(n, 0.0)[1]["ctr"]  # to plan: data without an effect, such as last week's
    smallest = float(np.expm1(planning.detectable_lift(same, cuped=True)))
    curve = power.power_curve(same, [0.0, 0.5 * smallest, smallest], "cuped", runs=500)
    print(f"power with CUPED at lifts {np.round(curve.lifts, 4)}: {curve.power}")
    return gate, found, ends


if __name__ == "__main__":
    main()
