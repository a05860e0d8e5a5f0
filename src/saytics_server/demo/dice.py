"""Chance without state: every decision is a hash of the seed, its purpose and who decides.

A history that can be asked in any order needs no memory: whether person 7 opens an account is the
same number whenever it is asked, so nothing about two million persons has to be kept just to stay
consistent. The hash is splitmix64's finaliser, on whole arrays at once; it is written out here
because NumPy's own generators may change their streams between versions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum, auto
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

# Tables of this many entries stand for a distribution: shares are exact to 0.025 %.
TABLE_SIZE = 4096
_TABLE_MASK = np.uint64(TABLE_SIZE - 1)
_GOLDEN = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


class Draw(IntEnum):
    """What is being decided. Each purpose is a stream of its own; append, never reorder."""

    COUNTRY = auto()
    CHANNEL = auto()
    BROWSER = auto()
    SECOND_DEVICE = auto()
    VISIT_COUNT = auto()
    VISIT_GAP = auto()
    VISIT_TIME = auto()
    VISIT_PAGES = auto()
    VISIT_PACE = auto()
    VISIT_EVENT = auto()
    SIGN_UP = auto()
    ACCOUNT_AGE = auto()
    COMPANY_SIZE = auto()
    ONBOARDING = auto()
    STEP_TIME = auto()
    STEP_DELAYED = auto()
    STEP_DELAY = auto()
    STAY_KIND = auto()
    STAY_DAYS = auto()
    POWER = auto()
    DEVICE_TIME = auto()
    DEVICE_SHARED = auto()
    PAYS = auto()
    TRIAL = auto()
    TRIAL_DAYS = auto()
    PLAN = auto()
    ANNUAL = auto()
    CANCEL_TIME = auto()
    CANCEL_REASON = auto()
    CHANGE_TIME = auto()
    CHANGE_KIND = auto()
    AFTER_CANCEL = auto()
    PAYMENT = auto()
    RETRY = auto()
    REFUND = auto()
    REFUND_TIME = auto()
    REFUND_AMOUNT = auto()
    ACTIVE = auto()
    SESSION = auto()
    SESSION_TIME = auto()
    SESSION_DEVICE = auto()
    SESSION_LENGTH = auto()
    SESSION_EVENT = auto()
    LOGIN = auto()
    MOMENT = auto()
    MESSAGE = auto()
    ANONYMOUS_HIGH = auto()
    ANONYMOUS_LOW = auto()


def mixed(words: Bits) -> Bits:
    """Return splitmix64's finaliser of each word: close words give results far apart."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def unit(bits: Bits) -> Floats:
    """Return the bits as numbers in [0, 1)."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Dice:
    """All chance of one demo. Methods take an array of deciders and give one answer for each."""

    def __init__(self, seed: int) -> None:
        salts = [(seed * 0xD1342543DE82EF95 + int(draw) * _GOLDEN) & _WORD for draw in Draw]
        self._salts = dict(zip(Draw, mixed(np.array(salts, np.uint64)), strict=True))

    def bits(self, draw: Draw, decider: npt.NDArray[Any], turn: npt.NDArray[Any] | int = 0) -> Bits:
        """Return 64 random bits per decider; `turn` tells apart what it decides repeatedly."""
        words = decider.astype(np.uint64) * np.uint64(_GOLDEN) + self._salts[draw]
        if isinstance(turn, int) and turn == 0:
            return mixed(words)
        return mixed(mixed(words) + np.asarray(turn).astype(np.uint64) * np.uint64(_GOLDEN))

    def unit(
        self, draw: Draw, decider: npt.NDArray[Any], turn: npt.NDArray[Any] | int = 0
    ) -> Floats:
        """Return a number in [0, 1) per decider."""
        return unit(self.bits(draw, decider, turn))

    def pick(
        self,
        draw: Draw,
        decider: npt.NDArray[Any],
        table: npt.NDArray[Any],
        turn: npt.NDArray[Any] | int = 0,
    ) -> npt.NDArray[Any]:
        """Return an entry of a distribution's table per decider."""
        return picked(self.bits(draw, decider, turn), table)


def picked(bits: Bits, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the table's entry that each word's low bits name."""
    chosen: npt.NDArray[Any] = table[(bits & _TABLE_MASK).astype(np.intp)]
    return chosen


def share_table(shares: Sequence[float]) -> Ints:
    """Return a table in which index i stands with `shares[i]`; shares need not add up to 1."""
    edges = np.cumsum(np.asarray(shares, np.float64))
    places = (np.arange(TABLE_SIZE) + 0.5) * (edges[-1] / TABLE_SIZE)
    table: Ints = np.searchsorted(edges, places).astype(np.int64)
    return table


def exponential_table() -> Floats:
    """Return quantiles of waiting times with mean 1."""
    quantiles = [-math.log1p(-(i + 0.5) / TABLE_SIZE) for i in range(TABLE_SIZE)]
    return np.array(quantiles) * (TABLE_SIZE / math.fsum(quantiles))


def log_normal_table(sigma: float) -> Floats:
    """Return quantiles of a skewed factor with mean 1: most below it, few far above."""
    normal = NormalDist()
    quantiles = [
        math.exp(sigma * normal.inv_cdf((i + 0.5) / TABLE_SIZE)) for i in range(TABLE_SIZE)
    ]
    return np.array(quantiles) * (TABLE_SIZE / math.fsum(quantiles))


EXPONENTIAL = exponential_table()
