"""``mcp``, a server by which an agent drives studies."""

from __future__ import annotations

from pathlib import Path

from c2c_search.cli.options import ROOT
from c2c_search.cli.options import Root
from c2c_search.cli.options import Storage
from c2c_search.cli.options import TrackingUri


def mcp(root: Root = ROOT, storage: Storage = None, tracking_uri: TrackingUri = None) -> None:
    """Serve validate, plan, study, status, explain and verdict to an agent, over stdio (MCP).

    Runs in the working folder until its client leaves. No tool shows a row of the test split or
    judges on it: an agent learns the gate's verdict, once there is one. Needs the extra `mcp`.

    Example, in an MCP client's configuration:

        {"mcpServers": {"c2c-search": {"command": "c2c-search", "args": ["mcp"]}}}
    """
    from c2c_search.setup.mcp_server import server

    server(Path.cwd(), root, storage, tracking_uri).run()
