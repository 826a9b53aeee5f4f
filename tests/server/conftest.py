"""A tiny champion behind the application, and a client in this process."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from contextlib import contextmanager
from threading import Thread

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


@pytest.fixture(scope="session")
def make_app(make_pair):
    """``make_app(batch=…)``: the application with one tiny champion, under these limits."""
    from c2c_search.server.app import create_app
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.serving import ServedChampion

    pair = make_pair()

    def make(**limits):
        app = create_app([ServedChampion("tiny", pair, None, {})], ServerLimits(**limits))
        app.state.pair = pair
        return app

    return make


@pytest.fixture(scope="session")
def in_process():
    """``async with in_process(app) as client``: many requests at once, without a socket."""
    import httpx

    @asynccontextmanager
    async def opened(app):
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost", timeout=60
            ) as client:
                yield client

    return opened


@pytest.fixture(scope="session")
def on_socket():
    """``with on_socket(app) as url``: uvicorn in a thread, for clients that need one."""
    import uvicorn

    @contextmanager
    def opened(app):
        config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=2)
        server = uvicorn.Server(config)
        with config.bind_socket() as socket:
            thread = Thread(target=server.run, args=([socket],), daemon=True)
            thread.start()
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{socket.getsockname()[1]}"
            finally:
                server.should_exit = True
                thread.join(timeout=30)

    return opened
