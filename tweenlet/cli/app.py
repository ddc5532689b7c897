"""The app that commands register with, exit codes, and the new names of old flags."""

from __future__ import annotations

import difflib
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Group, Parameter

import tweenlet
from tweenlet.cli.settings import add_settings
from tweenlet.runtime.extras import describe_missing
from tweenlet.runtime.programs import existing_signals
from tweenlet.training.options import RENAMED

SIGNALS = existing_signals("SIGTERM", "SIGHUP", "SIGXCPU", "SIGBREAK")
"""Signals handled like Ctrl-C: partial files are removed, and the exit code is 128 + the signal number."""
DEBOUNCE = 1.0
"""Seconds within which a second signal is ignored: closing a terminal sends two."""
RENAMED_VERBS = {"judge": "compare", "pack": "transcode"}
_TRAINING = {old: new.replace("_", "-") for old, new in RENAMED.items()}
_TEACHING = {"--beforehand": "--precompute-teacher", "--confident": "--filter-teacher"}
RENAMED_FLAGS = {
    "interpolate": {"--depth": "--max-recursion"},
    "evaluate": {"--on": "--benchmark", "--part": "--subset", "--peer": "--baseline"},
    "compare": {"--peer": "--baseline"},
    "transcode": {"--longest": "--max-frames"},
    **{
        verb: {f"--{old}": f"--{new}" for old, new in _TRAINING.items()} | _TEACHING
        for verb in ("train", "sparsify")
    },
    "distill": {f"--{old}": f"--{new}" for old, new in _TRAINING.items()}
    | _TEACHING
    | {"--flows": "--flow-weight"},
    "compress": {"--on": "--benchmark"}
    | _TEACHING
    | {
        f"--{stage}.{old}": f"--{stage}.{new}"
        for stage in ("sparsify", "distill")
        for old, new in _TRAINING.items()
    },
}
"""By verb: old flag -> new flag. An old flag is an error that names the new one."""
Several = Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative="")]
"""A flag that takes one value or more, and may be repeated."""
PathText = str | Path
"""The name of a file, a URL or "-": a str, always; shells complete it as a path."""


FRAMES = Group("Make frames", sort_key=0)
QUALITY = Group("Find out how good and how fast", sort_key=1)
NETWORKS = Group("Networks and their weights", sort_key=2)
LEARNING = Group("Train and compress", sort_key=3)


class _CompletingApp(App):
    """In bash, file names are completed by bash, which knows of spaces and folders."""

    def generate_completion(self, **options: Any) -> str:
        """The script for a shell."""
        script = super().generate_completion(**options)
        script = script.replace('COMPREPLY=( $(compgen -f -- "${cur}") )', "COMPREPLY=()")
        return script.replace("complete -F", "complete -o bashdefault -o default -F")


app = _CompletingApp(
    name="tweenlet",
    help="In-between frames for video, and the tools that make the networks behind them small.",
    version=lambda: tweenlet.__version__,
    suppress_keyboard_interrupt=False,
    group_commands=Group("More", sort_key=9),
    usage="Usage: tweenlet COMMAND\n\nTo begin with: tweenlet interpolate holiday.mp4",
)
app.register_install_completion_command(add_to_startup=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit; the exit codes are listed in :mod:`tweenlet.cli`."""
    warnings.showwarning = lambda message, *_, **__: print(f"tweenlet: warning: {message}", file=sys.stderr)
    handler = _ExitOnSignal()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup requests
            signal.signal(number, handler)
    code, message = 1, ""
    if isinstance(sys.stdout, TextIOWrapper):
        # file names are bytes and need not be UTF-8; Windows would write files in the country's encoding
        encoding = "utf-8" if sys.platform == "win32" else None
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        _reject_renamed(arguments)
        if arguments and arguments[0].startswith("-") and arguments[0] not in app:
            raise unknown_option(arguments[0], [name for name in app if name.startswith("-")])
        app(_protect_paths(add_settings(reorder_paths(arguments))), exit_on_error=False, print_error=False)
        return
    except CycloptsError as error:
        code, message = 2, f"{error} (see tweenlet --help)"
    except KeyboardInterrupt:
        code, message = 130, "stopped"
    except SystemExit as end:
        if end.code != handler.code or not handler.code:
            raise
        code, message = handler.code, "stopped"
    except (ValueError, OSError, MemoryError) as error:
        message = describe_error(error)
    except ModuleNotFoundError as error:
        if (hint := describe_missing(error)) is None:
            raise
        message = hint
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        message = describe_error(error)
    print("tweenlet: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def _reject_renamed(arguments: Sequence[str]) -> None:
    """Raise CycloptsError for the old name of a verb or flag, with the new one."""
    verb = arguments[0] if arguments else ""
    if verb in RENAMED_VERBS:
        raise CycloptsError(msg=f"{verb} is now {RENAMED_VERBS[verb]}")
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    for argument in arguments[1:end]:
        flag = argument.partition("=")[0].replace("--no-", "--", 1)
        if flag in RENAMED_FLAGS.get(verb, {}):
            raise CycloptsError(msg=f"{flag} is now {RENAMED_FLAGS[verb][flag]}")


def unknown_option(word: str, options: Iterable[str]) -> CycloptsError:
    """The error for an option that a verb does not have; it names the nearest."""
    near = difflib.get_close_matches(word.partition("=")[0], options, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return CycloptsError(msg=f"Unknown option: {word}.{hint}")


def reorder_paths(arguments: Sequence[str]) -> list[str]:
    """The words of ffmpeg, "interpolate -i IN ... -o OUT", as tweenlet's: IN and OUT by their place."""
    if not arguments or arguments[0] != "interpolate":
        return list(arguments)
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    named: dict[str, list[str]] = {"-i": [], "-o": []}
    rest: list[str] = []
    words = iter(arguments[1:end])
    for word in words:
        if word not in named:
            rest.append(word)
        elif (value := next(words, None)) is not None:
            named[word].append(value if not value.startswith("-") or value == "-" else f"./{value}")
        else:
            raise CycloptsError(msg=f"{word} expects a path")
    return ["interpolate", *named["-i"], *rest, *named["-o"], *arguments[end:]]


def _protect_paths(arguments: Sequence[str]) -> list[str]:
    """Keep arguments after -- from being taken for options: -a.mp4 becomes ./-a.mp4."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    after = (f"./{a}" if a.startswith("-") and len(a) > 1 else a for a in arguments[at + 1 :])
    return [*arguments[:at], *after]


class _ExitOnSignal:
    """Signal handler that raises SystemExit, so that every `with` block cleans up its partial files."""

    code = 0

    def __init__(self) -> None:
        self._since = 0.0

    def __call__(self, number: int, _frame: object) -> None:
        if time.monotonic() - self._since < DEBOUNCE:
            return
        self._since, self.code = time.monotonic(), 128 + number
        sys.exit(self.code)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch raised an error because memory ran out, on the CPU or on CUDA."""
    return "memory" in str(error)


def describe_error(error: BaseException) -> str:
    """An error in words."""
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        return f"not enough memory: {str(error).splitlines()[0]}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error) or type(error).__name__
