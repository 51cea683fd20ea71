"""The only error boundary: whatever happens below becomes an exit code and at most one error line.

Exit codes: 0 done, 1 failed while working, 2 wrong use or input that can never work, 3 a score below
``--min-miou`` or findings with ``--strict``, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import errno
import gc
import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from geoseg.errors import GeosegError
from geoseg.outputs import remove_unfinished
from geoseg_cli import terminal
from geoseg_cli.signals import Signals, Terminated

_NO_MEMORY = (
    "allocate memory",
    "CUDA out of memory",
    "bad_alloc",
    "can't start new thread",
    "could not create a primitive",  # oneDNN, in the middle of a network
)
_LOWER = {
    "predict": "--batch-size, --size or --memory",
    "check-seams": "--size or --memory",
    "train": "--batch-size or --crop",
    "tile": "--size",
}
"""What makes a verb take less memory."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``geoseg`` and return its exit code.

    Args:
        argv: arguments without the program's name; those of the process when not given.
    """
    return _main(argv, Signals())


def _main(argv: Sequence[str] | None, signals: Signals) -> int:
    terminal.replace_closed_streams()
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("GEOSEG_DEBUG", "0") not in {"", "0"}
    verbose = debug or any(arg in {"-v", "-vv", "--verbose"} for arg in args)
    with signals, _warnings_as_lines(shown=verbose):
        try:
            dropped = drop_foreign_proj()
            if verbose and dropped:
                terminal.say(f"ignoring {', '.join(dropped)}, which belongs to another installation of PROJ")
            code = _run(args)
            signals.ignore()
            return code
        except BaseException as error:
            signals.ignore()
            remove_unfinished()
            return _tell(signals.seen_in(error), args, debug=debug)


def run() -> NoReturn:
    """Be the process called ``geoseg``: :func:`main`, with a quick start and a quick end."""
    # Collecting rarely makes importing torch a sixth faster; it leaves hundreds of thousands of objects.
    gc.set_threshold(100_000, 20, 20)
    # All is said and done then: a late Ctrl-C changes nothing.
    code = _main(None, Signals(stay_deaf=True))
    if "torch" in sys.modules:
        # Everything is closed and written by now. Python would take another second to take torch apart.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _run(args: list[str]) -> int:
    import typer.main

    from geoseg_cli.app import app

    # Not app(...), which would replace sys.excepthook.
    code = typer.main.get_command(app).main(args, prog_name="geoseg", standalone_mode=False, obj=tuple(args))
    if code == 130:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def drop_foreign_proj() -> list[str]:
    """Forget where another PROJ keeps its database: the one in rasterio's wheel cannot read it.

    Returns:
        The environment variables that were dropped. None when rasterio was built against a system's PROJ.
    """
    spec = importlib.util.find_spec("rasterio")  # finds it without importing it
    if spec is None or spec.origin is None or not (Path(spec.origin).parent / "proj_data").is_dir():
        return []
    return [name for name in ("PROJ_LIB", "PROJ_DATA") if os.environ.pop(name, None) is not None]


def _tell(error: BaseException, args: Sequence[str], *, debug: bool) -> int:
    """Say what went wrong, and return the exit code."""
    line, code = _describe(error, args)
    if line is not None:
        if debug:
            terminal.say_text("".join(traceback.format_exception(error)))
        terminal.say(f"geoseg: error: {line}")
    return code


def _describe(error: BaseException, args: Sequence[str]) -> tuple[str | None, int]:
    """The error line, ``None`` for none, and the exit code."""
    if isinstance(error, Terminated):
        return "; ".join(["terminated", *getattr(error, "__notes__", [])]), _exit_code(error)
    if isinstance(error, SystemExit):
        return None, _exit_code(error)
    if isinstance(error, KeyboardInterrupt):
        return "; ".join(["interrupted", *getattr(error, "__notes__", [])]), 130
    if isinstance(error, GeosegError):
        return str(error), error.exit_code
    if _is_out_of_memory(error):
        return f"out of memory; {_less_memory(args)}close other programs", 1
    if isinstance(error, OSError):
        return _describe_os_error(error), 1
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        if sys.getfilesystemencoding() == "utf-8":
            return f"{error.object}: this name is not UTF-8, which GDAL needs; rename it", 2
        return f"{error.object}: Python reads names as ASCII here, GDAL as UTF-8; set PYTHONUTF8=1", 2
    return _describe_usage(error) or (_describe_bug(error), 1)


def _exit_code(error: SystemExit) -> int:
    return error.code if isinstance(error.code, int) else int(error.code is not None)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch's own classes and texts, without importing torch.
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error)
    return bool({"MemoryError", "OutOfMemoryError"} & names) or (
        isinstance(error, RuntimeError | OSError | ImportError) and any(said in text for said in _NO_MEMORY)
    )


def _less_memory(args: Sequence[str]) -> str:
    """What to lower in the call, if anything helps."""
    verb = next((arg for arg in args if not arg.startswith("-")), "")
    # Only the ONNX file is made by running the network.
    flags = "--size" if verb == "export" and "--onnx" in args else _LOWER.get(verb)
    return f"lower {flags}, or " if flags else ""


def _describe_os_error(error: OSError) -> str:
    where = f", {os.fsdecode(error.filename)}" if isinstance(error.filename, str | bytes) else ""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    if error.errno == errno.ENOENT and not where and not _has_folder():
        return "the folder you are in is gone; go to one that is there, then run it again"
    if error.errno in _NO_SPACE:
        return f"{reason}{where}; make room or write elsewhere, then run it again"
    return f"{reason}{where}; check the path and your permissions"


def _has_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return False
    return True


def _describe_usage(error: BaseException) -> tuple[str, int] | None:
    import typer

    if isinstance(error, typer.Abort):
        return "aborted", 130
    if not isinstance(error, typer.TyperException):
        return None
    # typer writes choices in lines of their own, and "Missing argument 'SCENE'." as a sentence.
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message.replace(". Did you mean", "; did you mean").replace("Value error, ", "")
    possible = getattr(error, "possibilities", None)
    if possible:
        # typer sorts them by name.
        close = difflib.get_close_matches(getattr(error, "option_name", ""), possible, n=1, cutoff=0.0)
        message = f"{error.message}; did you mean {close[0]}?"
    context = getattr(error, "ctx", None)
    help_call = f"{context.command_path if context else 'geoseg'} --help"
    hint = "" if "did you mean" in message else f"; see {help_call}"
    return f"{message[:1].lower()}{message[1:]}{hint}", error.exit_code


def _describe_bug(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (
        f"{type(error).__name__}{f': {text}' if text else ''}; this is a bug in geoseg, "
        "please report it with the traceback that --debug shows"
    )


@contextlib.contextmanager
def _warnings_as_lines(*, shown: bool) -> Iterator[None]:
    """Python's warnings are for developers: one line with ``-v``, nothing without."""

    def show(message: Warning | str, category: type[Warning], *_rest: Any, **_more: Any) -> None:
        if shown:
            terminal.say(f"{category.__name__}: {message}")

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


if __name__ == "__main__":
    run()
