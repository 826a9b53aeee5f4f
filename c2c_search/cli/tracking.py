"""``ui``, the runs in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Root


def ui(
    root: Root = ROOT,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 5000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the MLflow UI on all studies under the root, until Ctrl-C.

    Example:

        $ c2c-search ui
        private
          leaderboard http://127.0.0.1:5000/#/experiments/1/runs?...
          charts      http://127.0.0.1:5000/#/experiments/1/runs?...
    """
    from c2c_search.tracking.ui import serve

    serve(root, host=host, port=port)
