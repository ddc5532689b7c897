"""Options that say how small a network should become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter, validators

if TYPE_CHECKING:
    from tweenlet.compression.budget import Budget

BUDGET = Group(
    "Budget (at most one of these; default: follow the densities)",
    validator=validators.mutually_exclusive,
    sort_key=0,
)
Params = Annotated[str | None, Parameter(group=BUDGET, help="Maximum number of parameters, such as 2M.")]
Macs = Annotated[
    str | None,
    Parameter(
        group=BUDGET, help="Maximum multiply-adds for one new frame, such as 50G@480p or 50G@1920x1080."
    ),
]
Ms = Annotated[
    str | None,
    Parameter(
        group=BUDGET,
        help="Maximum milliseconds for one new frame, measured on this machine's CPU, such as 500@480p.",
    ),
]
SEVERAL = {"consume_multiple": True, "negative": ""}
SeveralParams = Annotated[
    tuple[str, ...],
    Parameter(
        group=BUDGET, help="Maximum number of parameters, such as 2M or 50%. May be several.", **SEVERAL
    ),
]
SeveralMacs = Annotated[
    tuple[str, ...],
    Parameter(
        group=BUDGET, help="Maximum multiply-adds for one new frame, such as 50G@480p or 50%.", **SEVERAL
    ),
]
SeveralMs = Annotated[
    tuple[str, ...],
    Parameter(
        group=BUDGET,
        help="Maximum milliseconds for one new frame, such as 500@480p: CPU time over threads, by a table of "
        "this machine's times of each part; the network that is chosen is measured.",
        **SEVERAL,
    ),
]


def budget_of(params: str | None, macs: str | None, ms: str | None) -> Budget | None:
    """The one budget that was typed; None without any."""
    from tweenlet.compression.budget import Budget

    for kind, text in (("params", params), ("macs", macs), ("ms", ms)):
        if text is not None:
            return Budget.parse(kind, text)
    return None


def budgets_of(
    params: Sequence[str], macs: Sequence[str], ms: Sequence[str], latency_command: str | None, device: str
) -> dict[str, Budget]:
    """The budgets of ``compress``, by what was typed."""
    from tweenlet.compression.budget import Budget

    if latency_command and not ms:
        raise ValueError("--latency-command measures milliseconds: expected --ms too")
    return {
        text: Budget.parse(kind, text, latency_command or "", device)
        for kind, texts in (("params", params), ("macs", macs), ("ms", ms))
        for text in texts
    }
