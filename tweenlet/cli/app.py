"""The app that the verbs join, how it ends, and what they share."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError

import tweenlet

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)
"""What ends a command as Ctrl-C does: half-written files are removed; the exit code is 128 + its number."""
AT_ONCE = 1.0
"""Seconds in which a second signal says the same as the first: whoever closes a terminal sends two."""


app = App(
    name="tweenlet",
    help="In-between frames for video, and the tools that make the networks behind them small.",
    version=tweenlet.__version__,
    suppress_keyboard_interrupt=False,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    warnings.showwarning = lambda message, *_, **__: print(f"tweenlet: warning: {message}", file=sys.stderr)
    leave = _Leave()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup asks for
            signal.signal(number, leave)
    code, said = 1, ""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names are bytes, which need not be UTF-8
    try:
        app(_dashes(sys.argv[1:] if arguments is None else arguments), exit_on_error=False, print_error=False)
        return
    except CycloptsError as error:
        code, said = 2, f"{error} (tweenlet --help tells more)"
    except KeyboardInterrupt:
        code, said = 130, "stopped"
    except SystemExit as end:
        if end.code != leave.code or not leave.code:
            raise
        code, said = leave.code, "stopped"
    except (ValueError, OSError, MemoryError) as error:
        said = _told(error)
    except RuntimeError as error:  # what torch raises when memory runs out, on the CPU and on CUDA
        if "memory" not in str(error):
            raise
        said = f"not enough memory: {str(error).splitlines()[0]}"
    print("tweenlet: " + " ".join(said.split()), file=sys.stderr)
    sys.exit(code)


def _dashes(arguments: Sequence[str]) -> list[str]:
    """Arguments in which what follows -- cannot be taken for an option: -a.mp4 becomes ./-a.mp4."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    after = (f"./{a}" if a.startswith("-") and len(a) > 1 else a for a in arguments[at + 1 :])
    return [*arguments[:at], *after]


class _Leave:
    """Ends the command by way of every `with`, so that nothing half written stays."""

    code = 0

    def __init__(self) -> None:
        self._since = 0.0

    def __call__(self, number: int, _frame: object) -> None:
        if time.monotonic() - self._since < AT_ONCE:
            return
        self._since, self.code = time.monotonic(), 128 + number
        sys.exit(self.code)


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__
