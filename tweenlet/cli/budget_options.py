"""Options for the budget of a smaller network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter, validators

from tweenlet.cli.app import Several

if TYPE_CHECKING:
    from tweenlet.compression.budget import Budget


BUDGET = Group(
    "Budget (at most one of these; default: follow the densities)",
    validator=validators.mutually_exclusive,
    sort_key=0,
)
Amounts = Annotated[Several, Parameter(group=BUDGET, show_default=False)]


@dataclass(frozen=True)
class BudgetOptions:
    """Budgets as typed: one, or several of a kind where a command takes several."""

    params: Amounts = ()
    """Maximum number of parameters, such as 2M or 50%."""
    macs: Amounts = ()
    """Maximum multiply-adds per new frame, such as 50G@480p, 50G@1920x1080 or 50%."""
    ms: Amounts = ()
    """Maximum milliseconds per new frame, such as 500@480p: CPU time divided by threads. Widths are chosen
    from this machine's times for each part, and the chosen network is measured."""

    def one(self) -> Budget | None:
        """The only budget; None without any. ValueError for several."""
        budgets = self.all()
        if len(budgets) > 1:
            raise ValueError(f"expected one budget, got {', '.join(budgets)}")
        return next(iter(budgets.values()), None)

    def all(self, latency_command: str | None = None, device: str = "cpu") -> dict[str, Budget]:
        """The budgets by their text; milliseconds are timed on ``device``, or by a command."""
        from tweenlet.compression.budget import Budget

        if latency_command and not self.ms:
            raise ValueError("--latency-command measures milliseconds: expected --ms too")
        return {
            text: Budget.parse(kind, text, latency_command or "", device)
            for kind, texts in (("params", self.params), ("macs", self.macs), ("ms", self.ms))
            for text in texts
        }


Budgets = Annotated[BudgetOptions, Parameter(name="*")]
NO_BUDGET = BudgetOptions()
