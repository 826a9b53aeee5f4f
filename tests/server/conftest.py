"""A tiny champion behind the application, and a client in this process."""

from __future__ import annotations

import time
from contextlib import ExitStack
from contextlib import asynccontextmanager
from contextlib import contextmanager
from threading import Thread

import pytest


pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")


def tiny_app(model, limits, **options):
    """The application with one champion called ``tiny``; it takes documents where it can."""
    from c2c_search.server.app import create_app
    from c2c_search.server.serving import ServedChampion

    beside = model.fuser.config.stands_beside
    document = (lambda text, question: f"{text}\n{question}") if beside else None
    app = create_app([ServedChampion("tiny", model, document, {})], limits, **options)
    app.state.pair = model
    return app


@pytest.fixture
def serve(make_pair):
    """``serve(injection="side")``: a client of a tiny champion, and its model."""
    from fastapi.testclient import TestClient

    from c2c_search.server.limits import ServerLimits

    with ExitStack() as clients:

        def start(*, api_key=None, hosts=("*",), limits=None, **fields):
            model = make_pair(**fields)
            app = tiny_app(model, limits or ServerLimits(), api_key=api_key, hosts=hosts)
            client = TestClient(app, raise_server_exceptions=False)
            return clients.enter_context(client), model

        yield start


@pytest.fixture(scope="session")
def make_app(make_pair):
    """``make_app(batch=…)``: the application with one tiny champion, under these limits."""
    from c2c_search.server.limits import ServerLimits

    pair = make_pair()
    return lambda **limits: tiny_app(pair, ServerLimits(**limits))


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
