"""Reading a log as a platform would: `as_of(t)` shows what was known at t, and nothing later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim.events import Revisits
from sim.partition import rows_path
from sim.schedule import SLOT_S, SLOTS_PER_DAY, cells
from sim.schema import (
    EFFECTIVE_VIEW_S,
    SCENARIOS,
    Catalogue,
    Follows,
    Impressions,
    Purchases,
    Refunds,
    Supply,
)
from sim.tables import CATALOGUE_PARTS, catalogue_from, from_table
from sim.tick import Tick
from sim.truth import TruthRows

D = TypeVar("D", Impressions, TruthRows)
E = TypeVar("E", Purchases, Refunds, Follows, Revisits)

MANIFEST = "manifest.json"
VERSION = 5

FEEDBACK = ("like", "comment", "follow", "bag_click", "cart")
"""Binary feedback that is known when the stay is over."""


class LogError(ValueError):
    """A log is missing, incomplete, broken or of another version; one line."""


@dataclass(frozen=True)
class Airings:
    """Who was on air, one row per streamer and slot of ten minutes; arrays [E], slots ascend."""

    slot: NDArray[np.int32]
    """Slot since the world began."""
    streamer_id: NDArray[np.int32]
    room_id: NDArray[np.int64]
    room_start_s: NDArray[np.float64]


@dataclass(frozen=True)
class Log:
    """A view of a log folder; cheap to make, nothing is read before it is asked for."""

    _folder: Path
    """Private: beside what was observed it holds the truth, which no policy may read."""
    start_s: float
    end_s: float
    """Impressions of sessions whose tick begins in [start_s, end_s) are selected."""
    as_of_s: float
    """What happened or became known after this moment is invisible."""
    tick_s: float
    day_s: float
    n_ids: tuple[int, ...] = (0, 0, 0)
    """Users, streamers and products: ids are below these."""
    n_parts: int = 1
    """Files into which each day's rows are divided by user."""

    @classmethod
    def open(cls, folder: Path) -> Log:
        """Open a complete log, as of its end.

        Raises:
            LogError: the folder is missing, incomplete, truncated or of another version.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        if manifest["days_written"] < manifest["days"]:
            raise LogError(
                f"log {folder}: incomplete, {manifest['days_written']} of {manifest['days']} days "
                "written; run the same simulate command again to go on"
            )
        check_files(folder, manifest)
        return cls.so_far(folder, manifest)

    @classmethod
    def so_far(cls, folder: Path, manifest: dict[str, Any]) -> Log:
        """Return the days of a log that its manifest says are written."""
        end_s = manifest["days_written"] * manifest["day_s"]
        n_ids = tuple(manifest["entities"][entity] for entity in CATALOGUE_PARTS)
        return cls(
            folder, 0.0, end_s, end_s, manifest["tick_s"], manifest["day_s"], n_ids,
            manifest["parts"],
        )  # fmt: skip

    @classmethod
    def nothing(cls, tick_s: float, day_s: float) -> Log:
        """Return the log of a platform that has not opened yet."""
        return cls(Path(), 0.0, 0.0, 0.0, tick_s, day_s)

    def as_of(self, t_s: float) -> Log:
        """Return the log as it was known at `t_s`; never later than it already is.

        Impressions after t are absent; a stay that is not over is cut at t and has no later
        feedback; a purchase or refund whose report has not arrived is not there, even if it has
        happened.
        """
        return replace(self, as_of_s=min(t_s, self.as_of_s), end_s=min(t_s, self.end_s))

    def between(self, start_s: float, end_s: float) -> Log:
        """Return the log restricted to sessions whose tick begins in [start_s, end_s)."""
        return replace(self, start_s=max(start_s, self.start_s), end_s=min(end_s, self.end_s))

    @property
    def days(self) -> range:
        """Days that hold selected sessions."""
        last = int(np.ceil(self.end_s / self.day_s))
        return range(int(self.start_s // self.day_s), max(last, int(self.start_s // self.day_s)))

    def impressions(self) -> Impressions:
        """Return the selected impressions as known, in time order of their ticks."""
        parts = [self._visible(self._rows(day)) for day in self.days]
        shown = Impressions.concat([Impressions.empty(), *parts])
        return _with_purchases(shown, self.purchases())

    def purchases(self) -> Purchases:
        """Return all purchases that were reported, in the order of their reports."""
        return self._reported("purchases", Purchases)

    def refunds(self) -> Refunds:
        """Return all refunds that were reported, in the order of their reports."""
        return self._reported("refunds", Refunds)

    def revisits(self) -> Revisits:
        """Return all visits after a stay that had happened, in the order in which they did."""
        return self._reported("revisits", Revisits)

    def follows(self) -> Follows:
        """Return all follows that were known, by their moment; those from before come first.

        With `impressions()` (views, product clicks), `purchases()` and the catalogue's products of
        streamers, they are the histories from which relations of higher order can be derived.
        """
        known = self._reported("follows", Follows)
        return known.take(np.argsort(known.known_s, kind="stable"))

    def catalogue(self) -> Catalogue:
        """Return the observed features of everyone who had appeared by `as_of_s`."""
        if self.as_of_s <= 0:
            return Catalogue.empty()
        return self._catalogue_of(max(int(np.ceil(self.as_of_s / self.day_s)) - 1, 0))

    def airings(self, day: int) -> Airings:
        """Return who was on air from the start of `day` to a few hours into the next.

        Raises:
            LogError: the file cannot be read.
        """
        table = self._read(f"on_air/day={day:04d}/part-0.parquet")
        begun = table.column("slot").to_numpy() * float(SLOT_S) <= self.as_of_s
        return Airings(*(table.column(f.name).to_numpy()[begun] for f in fields(Airings)))

    def ticks(self) -> Iterator[Tick]:
        """Replay the log tick by tick, just as a deployed ranker meets it.

        Each tick brings what became known since the last one, and the sessions that start in it.
        """
        seen_s = -np.inf
        unknown = Impressions.empty()
        for day in range(int(self.start_s // self.day_s)):
            unknown = Impressions.concat([unknown, self._known(self._rows(day))])
        bought, returned, visits = self.purchases(), self.refunds(), self.revisits()
        for day in self.days:
            rows = self._rows(day)
            shown = _with_purchases(self._visible(rows), bought)
            unknown = Impressions.concat([unknown, self._known(rows)])
            ticks = np.arange(
                round(day * self.day_s / self.tick_s), round((day + 1) * self.day_s / self.tick_s)
            )
            now_s = ticks * self.tick_s
            inside = (self.start_s <= now_s) & (now_s < self.end_s)
            ticks, now_s = ticks[inside], now_s[inside]
            # the first tick at which a row is known; len(ticks) stands for the days to come
            due = np.searchsorted(now_s, unknown.known_s).astype(np.int16)
            order = np.argsort(due, kind="stable")
            unknown = unknown.take(order)
            known = np.searchsorted(due[order], np.arange(len(ticks) + 1)).tolist()
            # sessions ascend in their start
            tick_of = shown.session_start_s // self.tick_s
            starts = np.searchsorted(tick_of, ticks).tolist()
            ends = np.searchsorted(tick_of, ticks, side="right").tolist()
            supply, catalogue = self._supply(day), self._catalogue_of(day)
            for i, at_s in enumerate(now_s.tolist()):
                # reports ascend
                since = [seen_s, at_s]
                sold = slice(*np.searchsorted(bought.known_s, since, side="right").tolist())
                back = slice(*np.searchsorted(returned.known_s, since, side="right").tolist())
                back_here = slice(*np.searchsorted(visits.known_s, since, side="right").tolist())
                yield Tick(
                    now_s=at_s,
                    known=unknown.take(slice(known[i], known[i + 1])).read_only,
                    purchases=bought.take(sold).read_only,
                    refunds=returned.take(back).read_only,
                    revisits=visits.take(back_here).read_only,
                    shown=shown.take(slice(starts[i], ends[i])).read_only,
                    supply=supply,
                    first_slot=day * SLOTS_PER_DAY,
                    catalogue=catalogue,
                )
                seen_s = at_s
            unknown = unknown.take(slice(known[-1], None))

    def known_after_last_tick(self) -> tuple[Impressions, Purchases]:
        """Return what became known after the last tick of `ticks()` until `as_of_s`."""
        last_s = (np.ceil(self.end_s / self.tick_s) - 1) * self.tick_s
        rows = [self._known(self._rows(day)) for day in range(self._last_day)]
        known = Impressions.concat([Impressions.empty(), *rows])
        bought = self.purchases()
        return known.take(known.known_s > last_s), bought.take(bought.known_s > last_s)

    @property
    def _last_day(self) -> int:
        return int(np.ceil(self.as_of_s / self.day_s))

    def selects(self, rows: Impressions) -> NDArray[np.bool_]:
        """Return which rows [N] the view shows: tick inside its range, shown by `as_of_s`."""
        tick_start_s = rows.session_start_s // self.tick_s * self.tick_s
        inside = (tick_start_s >= self.start_s) & (tick_start_s < self.end_s)
        return inside & (rows.time_s <= self.as_of_s)

    def _rows(self, day: int) -> Impressions:
        """Rows of a day's sessions as they turned out in the end."""
        return self._read_day("impressions", day, Impressions)

    def _visible(self, rows: Impressions) -> Impressions:
        """Selected ones of a day's rows as they looked at `as_of_s`."""
        selected = self.selects(rows)
        if not selected.all():
            rows = rows.take(selected)
        open_ = rows.known_s > self.as_of_s
        if not open_.any():
            return rows
        so_far = np.clip(self.as_of_s - rows.time_s, 0.0, rows.watch_s).astype(np.float32)
        watch_s = np.where(open_, so_far, rows.watch_s)
        cut = {name: getattr(rows, name) & ~open_ for name in FEEDBACK}
        return replace(rows, watch_s=watch_s, view=watch_s >= EFFECTIVE_VIEW_S, **cut)

    def _known(self, rows: Impressions) -> Impressions:
        """Those of a day's rows whose feedback is complete at `as_of_s`."""
        known = rows.known_s <= self.as_of_s
        return rows if known.all() else rows.take(known)

    def _reported(self, name: str, kind: type[E]) -> E:
        """Read the events of a table that were reported by `as_of_s`."""
        files = (f"{name}/day={day:04d}/part-0.parquet" for day in range(self._last_day))
        parts = [kind.empty()]
        parts += [from_table(kind, self._read(file)) for file in files]
        events = kind.concat(parts)
        return events.take(events.known_s <= self.as_of_s)

    def _read_day(self, table: str, day: int, kind: type[D]) -> D:
        """Read all rows of a day, known by then or not, by request and position.

        Raises:
            LogError: a file cannot be read.
        """
        parts = []
        for code, scenario in enumerate(SCENARIOS):
            constant: dict[str, int] = {"scenario": code} if kind is Impressions else {}
            for part in range(self.n_parts):
                path = rows_path(table, day, scenario, part)
                parts.append(from_table(kind, self._read(path), **constant))
        rows = kind.concat(parts)
        # a request lies in one file, its positions in order
        return rows.take(np.argsort(rows.request_id, kind="stable"))

    def _supply(self, day: int) -> Supply:
        table = self._read(f"on_air/day={day:04d}/part-0.parquet")
        column = {name: table.column(name).to_numpy() for name in table.column_names}
        begun = column["slot"] * float(SLOT_S) <= self.as_of_s
        column = {name: values[begun] for name, values in column.items()}
        member = np.stack([column[f"in_{name}"] for name in SCENARIOS], axis=1)
        cell = cells(column["slot"].astype(np.int64) - day * SLOTS_PER_DAY, member)
        return Supply.spread(
            cell,
            column["streamer_id"],
            column["product_id"],
            column["room_id"],
            column["room_start_s"],
        ).read_only

    def _catalogue_of(self, day: int) -> Catalogue:
        tables = {
            entity: pa.concat_tables(
                [self._read(f"{entity}/day={d:04d}/part-0.parquet") for d in range(day + 1)]
            )
            for entity in CATALOGUE_PARTS
        }
        return catalogue_from(tables, self.n_ids).read_only

    def _read(self, name: str) -> pa.Table:
        path = self._folder / name
        try:
            return pq.ParquetFile(path).read()
        except (OSError, pa.ArrowInvalid) as error:
            reason = str(error).splitlines()[0]
            raise LogError(f"log {self._folder}: cannot read {name}: {reason}") from error


def _with_purchases(rows: Impressions, bought: Purchases) -> Impressions:
    """Fill `purchase_s` by the first purchases known; rows ascend in request id."""
    bought = bought.take(bought.ordinal == 0)
    if not len(rows) or not len(bought):
        return rows
    low = np.searchsorted(rows.request_id, bought.request_id, side="left")
    count = np.searchsorted(rows.request_id, bought.request_id, side="right") - low
    event = np.repeat(np.arange(len(bought)), count)
    row = np.arange(len(event)) - np.repeat(np.cumsum(count) - count, count) + low[event]
    same = rows.streamer_id[row] == bought.streamer_id[event]
    purchase_s = np.full(len(rows), np.nan)
    purchase_s[row[same]] = bought.event_s[event[same]]
    return replace(rows, purchase_s=purchase_s)


def check_files(folder: Path, manifest: dict[str, Any]) -> None:
    """Check that every file that the manifest names is there and as long as it says.

    Raises:
        LogError: one is missing or of another length.
    """
    for name, size in manifest["files"].items():
        path = folder / name
        found = path.stat().st_size if path.exists() else None
        if found != size:
            state = "missing" if found is None else f"{found} bytes instead of {size}"
            raise LogError(f"log {folder}: file {name} is {state}; write the log again")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a log folder.

    Raises:
        LogError: there is none, it cannot be read, or it is of another version.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise LogError(f"log {folder}: no {MANIFEST} there; allowed: a folder written by simulate")
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        version = manifest["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise LogError(
            f"log {folder}: {MANIFEST} is broken ({error}); write the log again"
        ) from None
    if version != VERSION:
        raise LogError(f"log {folder}: version {version}; allowed: {VERSION}")
    return manifest
