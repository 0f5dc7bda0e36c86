"""How long before its target's time-out a task is asked to stop, if nothing sets that."""

from __future__ import annotations

from lambda_executor.contract.options import STOP_MARGIN_S

#: The default stop margin, as a share of a short time-out.
_SHARE = 0.25


def default_stop_margin_s(time_out_s: float) -> float:
    """Return the default of `stop_margin_s` for a time-out: less for one below 80 s."""
    return min(STOP_MARGIN_S.default, max(time_out_s * _SHARE, STOP_MARGIN_S.bounds.least))
