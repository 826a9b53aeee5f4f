"""An MCP server (modelcontextprotocol.io) with which an agent drives studies, over stdio.

It has no tool that answers a question of the test split, shows a row, or judges a fuser: what an
agent learns of the test split is the gate's verdict, once the gate has spoken. Files are taken
from the folder it was started in, and YAML alone is read.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.host.children import python_command
from c2c_search.host.files import disk_errors
from c2c_search.setup.validation import Validation
from c2c_search.setup.validation import validation


try:
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
except ImportError as error:
    raise ConfigError(
        "The MCP server needs the package mcp.", hint="pip install 'c2c-search[mcp]'"
    ) from error


INSTRUCTIONS = """\
c2c-search searches for fusers: small networks by which one language model (the sharer) speaks to
another (the receiver) through its KV-cache. Write a space and a pipeline (YAML), then `validate`,
then `plan`, then `study`, which runs on in the background; `status` looks at it. `explain` says
which dimensions mattered, and `verdict` what the champion gate found on the test split, which
nothing else shows. A study is changed by editing its space and running `study` again: where trials
would not compare it opens a new version (`NAME@2`), whose sampler is shown the former one's;
`NAME` means the newest."""


class Workplace:
    """What the tools do, in one folder.

    Args:
        folder: Space files are below it.
        root: Folder of all studies.
        storage: Database of trials, in place of the file under the root.
        tracking_uri: MLflow server or database that studies record in.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        storage: str | None = None,
        tracking_uri: str | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.root = root.resolve()
        self.storage = storage
        self.tracking_uri = tracking_uri

    def validate(self, space: str) -> Validation:
        """Check a space file, its pipeline, its data and its models; lists every problem."""
        return validation(self._file(space), rows_shown=False)

    def plan(self, space: str) -> dict[str, Any]:
        """Say what a study of a space file would do: dimensions, trials, rungs, steps."""
        from dataclasses import asdict

        from c2c_search.space.plan import plan
        from c2c_search.space.schema import Space

        made = plan(Space.load(self._valid(space)))
        return {**asdict(made), "total_steps": made.total_steps}

    def study(self, space: str, trials: int | None = None) -> dict[str, Any]:
        """Start a study of a space file, or go on with it, in the background.

        Args:
            space: The space file.
            trials: In all, instead of the space's own number.
        """
        from c2c_search.space.schema import Space
        from c2c_search.study.versions import foreseen

        file = self._valid(space)
        name = foreseen(self.root, self.storage, Space.load(file)).name
        log = self.root / "trials" / name / "agent.log"
        command = python_command("-m", "c2c_search", "study", "--space", str(file))
        command += ["--root", str(self.root)]
        command += [] if self.storage is None else ["--storage", self.storage]
        command += [] if self.tracking_uri is None else ["--tracking-uri", self.tracking_uri]
        command += [] if trials is None else ["--trials", str(trials)]
        with disk_errors(log):
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                # Of its own session: it goes on when the agent has left.
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=self.folder,
                    start_new_session=True,
                )
        return {"study": name, "process": process.pid, "log": str(log)}

    def status(self, study: str | None = None) -> list[dict[str, Any]]:
        """Say of a study, or of all, who drives it, its trials by state, and the best one."""
        from c2c_search.study import overview

        opened = overview.open_existing(self.root, self.storage)
        rows = [overview.study_row(self.root, each) for each in overview.studies(opened, study)]
        return [row.model_dump(mode="json") for row in rows]

    def explain(self, study: str) -> dict[str, Any]:
        """Say which dimensions mattered on validation, and what to change in the space."""
        from c2c_search.study.explanation import explain

        return explain(study, self.root, url=self.storage).model_dump(mode="json")

    def verdict(self, study: str) -> dict[str, Any]:
        """Say what the champion gate found on the test split; nothing before it has judged."""
        from c2c_search.study import overview
        from c2c_search.study.verdicts import verdicts_of

        study = overview.load(overview.open_existing(self.root, self.storage), study).study_name
        found = verdicts_of(self.root, study)
        if not found:
            told = "The gate has not judged this study yet: it does when the last trial has ended."
            return {"study": study, "judged": False, "verdicts": [], "says": told}
        return {
            "study": study,
            "judged": True,
            "champion": next((each.name for each in found if each.leads), None),
            "says": "\n\n".join(each.explain() for each in found),
            "verdicts": [each.model_dump(mode="json") for each in found],
        }

    def _valid(self, space: str) -> Path:
        file = self._file(space)
        found = validation(file, rows_shown=False)
        if not found.valid:
            lines = [f"{each.line or ''} {each.key}: {each.message}" for each in found.problems]
            raise ConfigError("The space must be valid. " + "\n".join(lines))
        return file

    def _file(self, space: str) -> Path:
        """A space file of this folder; neither it nor its pipeline may be anything but YAML.

        What is read as YAML is quoted in problems, and a data file must not be.
        """
        from c2c_search.space.loading import files_of

        file = self.folder / space
        self._check(file)
        for named in files_of(file).values():
            self._check(named)
        return file

    def _check(self, file: Path) -> None:
        where = file.resolve()
        if where.suffix not in (".yaml", ".yml") or not where.is_relative_to(self.folder):
            raise ConfigError(
                "Space and pipeline must be YAML files of the folder that the server runs in.",
                value=str(file),
                hint=f"It runs in {self.folder}.",
            )


def server(
    folder: Path, root: Path, storage: str | None = None, tracking_uri: str | None = None
) -> MCPServer:
    """The server, ready to run; see `Workplace`."""
    from c2c_search import __version__

    made = MCPServer(
        "c2c-search", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR"
    )
    work = Workplace(folder, root, storage, tracking_uri)
    for tool in (work.validate, work.plan, work.study, work.status, work.explain, work.verdict):
        made.add_tool(_telling(tool))
    return made


def _telling(tool: Any) -> Any:
    """The same with what the user can put right told as a tool's error."""
    from functools import wraps

    @wraps(tool)
    def told(*arguments: Any, **options: Any) -> Any:
        try:
            return tool(*arguments, **options)
        except C2CError as error:
            raise ToolError(str(error)) from error

    return told
