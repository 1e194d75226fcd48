"""Judging policies: offline on logs, online in twins of one world, and against the truth.

Light on purpose: importing this package loads neither torch nor lifelines.
"""

from evaluation.intervals import Estimate as Estimate
from evaluation.intervals import Interval as Interval
from evaluation.results import Results as Results
from evaluation.results import ResultsError as ResultsError
from evaluation.results import Row as Row
from evaluation.results import Subject as Subject
