"""The command ``c2c-search``, thin calls into the packages, nothing heavy before needed."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.host.files import is_full
from c2c_search.host.signals import EXIT_CODE
from c2c_search.host.threads import thread_environment


_OF_A_PATH = (
    *(errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.ENOTDIR, errno.EPERM, errno.EROFS),
)
"""Of the system's errors, those that another path puts right."""


def main() -> None:
    """Run the command line; what the user can put right is told without a traceback."""
    # Before any command loads torch: it makes its threads once.
    os.environ.update(thread_environment(os.environ))
    from c2c_search.cli.verbosity import VERBOSITY

    if os.environ.get("COLUMNS") == "0":  # what a terminal without a size says: not known
        del os.environ["COLUMNS"]
    try:
        from c2c_search.cli.app import app

        _check_arguments()
        _check_folder()
        with _notes():
            app(prog_name="c2c-search")
    except KeyboardInterrupt:  # before the command, which leaves so too, has begun
        sys.exit(EXIT_CODE)
    except C2CError as error:
        if VERBOSITY.verbose:
            traceback.print_exception(error)
        _tell(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if is_full(error):
            where = f" ({error.filename})" if error.filename else ""
            told = f"There is no space left on the disk{where}. "
            told += "Free some and run the command again."
        elif error.errno in _OF_A_PATH and error.filename is not None:
            rule = f"A path must be one that can be used here ({error.strerror})."
            told = str(ConfigError(rule, value=str(error.filename), hint="Name another one."))
        else:
            raise
        _tell(told)
        sys.exit(C2CError.exit_code)


def _check_arguments() -> None:
    """Refuse what is no text: it could be neither kept, nor shown, nor sent."""
    for argument in sys.argv[1:]:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ConfigError(
                "Arguments must be UTF-8.",
                value=argument,
                hint="Rename the file, or set a UTF-8 locale.",
            ) from None


def _check_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError(
            f"The folder that the command is run in must be there ({error.strerror}).",
            hint="It was removed meanwhile: `cd` to another one.",
        ) from None


@contextmanager
def _notes() -> Iterator[None]:
    """Show a warning of ours as a note, once; those of libraries as they would be."""
    others, told = warnings.showwarning, set[str]()
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is not UserWarning or not filename.startswith(here):
            others(message, category, filename, lineno, file, line)
        elif str(message) not in told:
            told.add(str(message))
            _tell(str(message), "Note", "bold yellow")

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = others


def _tell(message: str, kind: str = "Error", style: str = "bold red") -> None:
    from rich.text import Text

    from c2c_search.host.terminal import Console

    text = Text.assemble((f"{kind}: ", style), message)
    Console(stderr=True).print(text, soft_wrap=True)
