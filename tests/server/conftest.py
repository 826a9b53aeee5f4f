"""A tiny champion behind the application, and a client in this process."""

from __future__ import annotations

import pytest


pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")


@pytest.fixture
def serve(make_pair):
    """``serve(injection="side")``: a client of a tiny champion called ``tiny``, and its model."""
    from fastapi.testclient import TestClient

    from c2c_search.server.app import create_app
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.serving import ServedChampion

    clients = []

    def start(*, api_key=None, hosts=("*",), limits=None, **fields):
        model = make_pair(**fields)
        beside = model.fuser.config.stands_beside
        document = (lambda text, question: f"{text}\n{question}") if beside else None
        champion = ServedChampion("tiny", model, document, {})
        app = create_app([champion], limits or ServerLimits(), api_key=api_key, hosts=hosts)
        client = TestClient(app, raise_server_exceptions=False)
        clients.append(client)
        return client.__enter__(), model

    yield start
    for client in clients:
        client.__exit__(None, None, None)
