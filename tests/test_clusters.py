"""The recipes of docs/clusters.md hold together: names, options and the manifest's fields."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from c2c_search.cli.app import app
from c2c_search.training.remote.worker import PLACE_SECONDS
from c2c_search.training.remote.worker import PLACE_VARIABLE


DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "clusters.md").read_text(encoding="utf-8")
JOB = yaml.safe_load((DOCS / "rayjob.yaml").read_text(encoding="utf-8"))


def containers() -> list[dict[str, Any]]:
    cluster = JOB["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [one for group in groups for one in group["template"]["spec"]["containers"]]


def test_the_manifest_is_a_ray_job_whose_every_node_asks_for_the_token() -> None:
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    assert len(containers()) == 2
    for container in containers():
        env = {each["name"]: each for each in container["env"]}
        assert env["RAY_AUTH_MODE"]["value"] == "token"
        assert env["RAY_USAGE_STATS_ENABLED"]["value"] == "0"
        secret = env["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
        assert f"secret generic {secret['name']} --from-literal={secret['key']}=" in PAGE


def test_volumes_that_are_mounted_are_there() -> None:
    cluster = JOB["spec"]["rayClusterSpec"]
    for group in [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]:
        spec = group["template"]["spec"]
        mounted = {m["name"] for one in spec["containers"] for m in one["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_options_of_the_recipes_are_options_of_the_command() -> None:
    known = {
        name
        for parameter in get_command(app).commands["study"].params  # type: ignore[attr-defined]
        for name in parameter.opts
    }
    recipes = re.findall(r"c2c-search study (?:\\\n|[^\n])*", PAGE + JOB["spec"]["entrypoint"])
    asked = {word for each in recipes for word in re.findall(r"(?<=\s)--[a-z-]+", each)}
    assert {"--engine", "--address", "--storage", "--tracking-uri"} <= asked <= known


def test_the_page_names_the_wait_for_a_node() -> None:
    assert f"`{PLACE_VARIABLE}` ({PLACE_SECONDS:.0f})" in PAGE
