"""The benchmark's two ways of judging slates come to the same numbers."""

import numpy as np

from evaluation.bench.off_policy import SlateWork


def test_compiled_code_and_plain_loops_agree():
    work = SlateWork.of(400)
    np.testing.assert_allclose(work.judge(), work.judge_by_loops(), rtol=1e-10)
