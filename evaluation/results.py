"""The one tidy table that every judgement ends in, and that every report is drawn from.

One row is one number with its 95 % interval. Columns (fixed order, fixed Arrow types):

=========== ======= ================================================================================
study       string  name of the study
world_seed  int64   seed of the world
policy      string  name of the policy; "" where the row is about the world, not about a policy
control     string  "" for a level; name of the control for a comparison
scenario    string  one of `sim.schema.SCENARIOS`, or "all"
slice       string  "all", or what the row is restricted to (survival: the horizon, see below)
metric      string  see the vocabulary
unit        string  `unit_of(metric)`; a comparison in relative terms has RELATIVE_LIFT
kind        string  "offline" (held-out log), "online" (observed in a deployment), "truth"
estimate    double  NaN where the metric is undefined (say, an AUC without positives)
low, high   double  ends of the 95 % interval; NaN where there is none
n           int64   queries, rows or users (or sessions) that the estimate rests on
=========== ======= ================================================================================

Comparisons keep the name of the metric and set `control`: with unit RELATIVE_LIFT the estimate is
policy / control - 1 (0.02 is two per cent more), with any other unit it is policy - control in that
unit. Intervals of comparisons are paired.

Vocabulary of `metric`
    Ranking, offline, one value per positive against *all* rooms on air: ``hr@K``, ``ndcg@K``,
    ``mrr``, ``mrr@K``, ``query_auc``; one value per request, all its positives together:
    ``recall@K``, ``precision@K``, ``ap``, ``ap@K``. ``tie_rate`` is the share of queries whose
    positive ties with another room. Those per positive also by slice: ``entry E`` (how the session
    began), ``new user``, ``settled user``, ``new streamer``, ``settled streamer`` and ``followers
    A-B`` (bands) of the positive. And with M sampled negatives, in exact expectation:
    ``hr@K/sM``, ``ndcg@K/sM``, ``mrr/sM``, ``query_auc/sM``, and corrected: ``hr@K/sM_cls``,
    ``hr@K/sM_bv0.1`` and so on (`evaluation.ranking.corrections`), which may leave [0, 1].

    Classification, offline, on the shown rows, T in `sim.schema.TARGETS`: ``auc/T``, ``gauc/T``
    (users weighted by impressions), ``gauc_by_positives/T`` and ``gauc_by_users/T`` (by positives;
    all alike), ``gauc_dropped_users/T`` (share of users without both labels), ``logloss/T``,
    ``pcoc/T`` (mean prediction / mean label), ``ece/T`` (expected calibration error in deciles);
    ``inversion/T`` (share of rows on which T is predicted above what it needs);
    with kind "truth" ``pcoc_true/T`` and ``ece_true/T``, the same against the true probability.
    PCOC also by slice ``decile D`` of the prediction, levels only. No AUC for ``watch``, whose
    label is not binary.

    Off-policy, offline, from the held-out log, E an estimator (`evaluation.off_policy.assessment`):
    ``top_value/E`` the worth of the room at the top of a page, ``request_value/E`` that of a page;
    ``effective_rounds/S``, ``mean_weight/S`` and ``unsupported/S``, S "top" or "request", say what
    the weights are worth; with kind "truth" ``top_value`` and ``request_value`` of the deployed
    policy. With policy "" ``top_value/logged`` and ``request_value/logged``, of the log itself.

    Online, per deployment: ``page_ctr``, ``user_ctr``, ``clicks_per_user``, ``watch_s_per_user``,
    ``views_per_user``, ``follows_per_user``, ``likes_per_user``, ``comments_per_user``,
    ``bag_clicks_per_user``, ``carts_per_user``, ``purchases_per_user``, ``gmv_cny_per_user``,
    ``value_per_user``. The last three also with kind "truth": purchases that ever come of the
    deployment, not only those seen before its end. Metrics of clicks have no row for the swipe.

    Survival, policy "": ``cvr/naive``, ``cvr/km``, ``cvr/cure``, ``cvr/truth`` (kind "truth"; the
    others "offline"), with slice the horizon after the product-bag click: ``15min``, ``1h``,
    ``24h``, ``72h``, ..., ``latest`` (the last time at which the curve can be read, which is
    ``cvr_readable_s``) or ``ultimate``; ``cure_follow_up``, ``cure_rise``, ``cure_plateau_ratio``,
    ``cure_family_gap`` and ``cure_misfit``, slice ``ultimate``, say whether the cure model may be
    believed.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evaluation.intervals import Interval
from sim.schema import SCENARIOS, TARGETS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Kind = Literal["offline", "online", "truth"]
KINDS: tuple[Kind, ...] = ("offline", "online", "truth")

ALL = "all"
"""Value of `scenario` and `slice` in rows that are not restricted."""

RELATIVE_LIFT = "relative lift"
"""Unit of a comparison policy / control - 1."""

_UNITS = {
    "hr": "share", "recall": "share", "precision": "share", "ap": "average precision",
    "pcoc_true": "ratio", "ece": "share", "ece_true": "share", "inversion": "share",
    "ndcg": "ndcg", "mrr": "reciprocal rank", "query_auc": "auc",
    "tie_rate": "share", "auc": "auc", "gauc": "auc", "gauc_by_positives": "auc",
    "gauc_by_users": "auc", "gauc_dropped_users": "share",
    "logloss": "nats", "pcoc": "ratio", "page_ctr": "share", "user_ctr": "share",
    "clicks_per_user": "clicks", "watch_s_per_user": "s", "views_per_user": "views",
    "follows_per_user": "follows", "likes_per_user": "likes", "comments_per_user": "comments",
    "bag_clicks_per_user": "bag clicks", "carts_per_user": "carts",
    "purchases_per_user": "purchases", "gmv_cny_per_user": "CNY", "value_per_user": "value",
    "top_value": "value", "request_value": "value", "effective_rounds": "rounds",
    "mean_weight": "ratio", "unsupported": "share",
    "cvr": "probability", "cure_plateau_ratio": "ratio", "cure_family_gap": "ratio",
    "cure_misfit": "ratio", "cure_follow_up": "p-value", "cure_rise": "share",
    "cvr_readable_s": "s",
}  # fmt: skip
_NAME = re.compile(r"(?P<base>[a-z_]+)(@(?P<k>[1-9]\d*))?(/(?P<detail>[a-z0-9_.]+))?")


class ResultsError(ValueError):
    """A result row or a results file that is not what it must be; the message says why."""


def unit_of(metric: str) -> str:
    """Return the unit of a metric of the vocabulary, for levels and absolute differences.

    Raises:
        ResultsError: the name is not in the vocabulary.
    """
    parts = _NAME.fullmatch(metric)
    if parts is None or parts["base"] not in _UNITS:
        allowed = ", ".join(_UNITS)
        raise ResultsError(f"metric {metric!r} is unknown; allowed first parts: {allowed}")
    return _UNITS[parts["base"]]


@dataclass(frozen=True, order=True)
class Row:
    """One line of the table; see the module for the meaning of each field.

    Raises:
        ResultsError: `kind` or `scenario` is not one of the allowed values.
    """

    study: str
    world_seed: int
    policy: str
    control: str
    scenario: str
    slice: str
    metric: str
    unit: str
    kind: Kind
    estimate: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        """Check the two fields that are drawn from a closed set."""
        if self.kind not in KINDS:
            raise ResultsError(f"kind is {self.kind!r}; allowed: {', '.join(KINDS)}")
        if self.scenario != ALL and self.scenario not in SCENARIOS:
            allowed = ", ".join((*SCENARIOS, ALL))
            raise ResultsError(f"scenario is {self.scenario!r}; allowed: {allowed}")


@dataclass(frozen=True)
class Subject:
    """What a group of rows is about; makes rows without repeating it."""

    study: str
    world_seed: int
    policy: str

    def level(
        self,
        metric: str,
        kind: Kind,
        interval: Interval,
        *,
        scenario: str = ALL,
        slice: str = ALL,
    ) -> Row:
        """Return the row of a level, in the metric's own unit."""
        return self._row(metric, unit_of(metric), kind, interval, "", scenario, slice)

    def difference(
        self,
        metric: str,
        kind: Kind,
        interval: Interval,
        control: str,
        *,
        scenario: str = ALL,
        slice: str = ALL,
    ) -> Row:
        """Return the row of policy - control, in the metric's own unit."""
        return self._row(metric, unit_of(metric), kind, interval, control, scenario, slice)

    def lift(
        self,
        metric: str,
        kind: Kind,
        interval: Interval,
        control: str,
        *,
        scenario: str = ALL,
        slice: str = ALL,
    ) -> Row:
        """Return the row of policy / control - 1."""
        unit_of(metric)
        return self._row(metric, RELATIVE_LIFT, kind, interval, control, scenario, slice)

    def _row(
        self,
        metric: str,
        unit: str,
        kind: Kind,
        interval: Interval,
        control: str,
        scenario: str,
        slice: str,
    ) -> Row:
        about = (self.study, self.world_seed, self.policy, control, scenario, slice, metric, unit)
        return Row(*about, kind, *astuple(interval))


@dataclass
class Results:
    """Rows of the table, in any order; files and frames come out in one order.

    Attributes:
        rows: the rows, kept in the order of arrival.
    """

    rows: list[Row] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """Iterate over the rows in the order of arrival."""
        return iter(self.rows)

    def append(self, row: Row) -> None:
        """Add one row."""
        self.rows.append(row)

    def extend(self, rows: Iterable[Row]) -> None:
        """Add rows, or another `Results`."""
        self.rows.extend(rows)

    @classmethod
    def concat(cls, parts: Iterable[Results]) -> Results:
        """Return one table with the rows of all parts."""
        return cls([row for part in parts for row in part.rows])

    def arrow(self) -> pa.Table:
        """Return the table sorted by its key columns, with the fixed schema.

        Raises:
            ResultsError: two rows have the same key (all columns but the four numbers).
        """
        import pyarrow as pa

        rows = sorted(self.rows, key=_key)
        for first, second in itertools.pairwise(rows):
            if _key(first) == _key(second):
                raise ResultsError(f"two result rows have the same key: {first} and {second}")
        columns = {f.name: [getattr(row, f.name) for row in rows] for f in fields(Row)}
        return pa.table(columns, schema=_schema())

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as a frame, sorted by its key columns."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def write(self, path: Path) -> None:
        """Write the table as Parquet; equal rows give equal bytes, and no partial file is left.

        Raises:
            ResultsError: two rows have the same key.
            OSError: the folder is missing, read-only or full.
        """
        import pyarrow.parquet as pq

        table = self.arrow()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            pq.write_table(table, part, compression="zstd")
            part.chmod(0o644)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a table that `write` wrote.

        Raises:
            ResultsError: the file is missing, cannot be read, or has other columns.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise ResultsError(f"results file {path} is missing") from None
        except (OSError, pa.ArrowException) as error:
            raise ResultsError(f"results file {path} cannot be read: {error}") from error
        expected = _schema()
        if table.schema.names != expected.names or table.schema.types != expected.types:
            found = ", ".join(f"{f.name} {f.type}" for f in table.schema)
            wanted = ", ".join(f"{f.name} {f.type}" for f in expected)
            raise ResultsError(f"results file {path} has columns [{found}]; expected [{wanted}]")
        columns: Sequence[list[object]] = [column.to_pylist() for column in table.columns]
        return cls([Row(*values) for values in zip(*columns, strict=True)])


def _schema() -> pa.Schema:
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "Kind": pa.string()}
    return pa.schema([(f.name, types[str(f.type)]) for f in fields(Row)])


def _key(row: Row) -> tuple[str, int, str, str, int, str, str, str, str]:
    scenario = SCENARIOS.index(row.scenario) if row.scenario in SCENARIOS else -1
    head = (row.study, row.world_seed, row.policy, row.control, scenario)
    return (*head, row.slice, row.metric, row.unit, row.kind)


def split_name(metric: str) -> tuple[str, str]:
    """Return (name without target, target) of a metric; the target is "" where there is none.

    ``auc/engage`` gives ("auc", "engage"); ``hr@10/s20`` gives ("hr@10/s20", "").
    """
    head, _, detail = metric.partition("/")
    return (head, detail) if detail in TARGETS else (metric, "")
