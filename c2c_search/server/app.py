"""The server's addresses: OpenAI's, those that operators look at, and the page."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from fastapi import FastAPI
from fastapi import Request
from fastapi import Response
from fastapi.exceptions import HTTPException
from fastapi.responses import FileResponse
from fastapi.responses import JSONResponse
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from c2c_search.server.failures import ApiError
from c2c_search.server.failures import failed
from c2c_search.server.replies import ChatReply
from c2c_search.server.replies import TextReply
from c2c_search.server.replies import usage
from c2c_search.server.requests import AnswerRequest
from c2c_search.server.requests import ChatRequest
from c2c_search.server.requests import CompletionRequest
from c2c_search.server.requests import read
from c2c_search.server.serving import ServedChampion
from c2c_search.server.serving import Server
from c2c_search.server.writing import Prompt
from c2c_search.server.writing import Wanted


if TYPE_CHECKING:
    from c2c_search.server.limits import ServerLimits


PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {"/": "index.html", "/page.js": "page.js", "/page.css": "page.css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def create_app(
    champions: Sequence[ServedChampion],
    limits: ServerLimits,
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = ("*",),
) -> FastAPI:
    """The application.

    Args:
        champions: What is served.
        limits: What is taken on.
        api_key: What clients must show.
        hosts: Names under which it answers, so that a foreign page cannot have a browser ask it
            under a name of its own.
    """
    server = Server(champions, limits, api_key)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.engine.start()
        yield
        await asyncio.to_thread(server.engine.stop)

    app = FastAPI(title="c2c-search", openapi_url=None, docs_url=None, lifespan=lifespan)
    app.state.server = server
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*hosts])
    _add_failures(app)
    _add_answers(app, server)
    _add_looks(app, server)
    return app


def _add_failures(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        return JSONResponse(error.body(), error.status, error.headers)

    @app.exception_handler(StarletteHTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        told = ApiError(error.status_code, str(error.detail))
        return JSONResponse(told.body(), told.status)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return JSONResponse(failed().body(), 500)


async def _body(http: Request, limit: int) -> bytes:
    """A request's body.

    Raises:
        ApiError: It is no JSON by its own word, or too long.
    """
    kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # also what keeps a foreign page from asking
        raise ApiError(415, "Content-Type must be application/json.", code="invalid_type")
    found = bytearray()
    async for part in http.stream():
        found += part
        if len(found) > limit:
            raise ApiError(413, f"The body may have {limit} bytes.", code="too_large")
    return bytes(found)


Counted = Callable[[Request], Awaitable[Response]]


def _add_answers(app: FastAPI, server: Server) -> None:
    limits = server.limits

    def most(asked: int | None, default: int) -> int:
        if asked is not None and asked > limits.max_tokens:
            raise ApiError(
                400, f"max_tokens may be {limits.max_tokens} at most.", param="max_tokens"
            )
        return min(default, limits.max_tokens) if asked is None else asked

    async def answered(
        http: Request,
        request: AnswerRequest,
        reply: ChatReply | TextReply,
        wanted: Sequence[Wanted],
    ) -> Response:
        jobs, events = server.jobs(request, wanted)
        server.engine.submit(jobs)
        if request.stream:
            stream = server.stream(request, reply, jobs, events)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
        answers = await server.whole(http, request, jobs, events)
        return JSONResponse(reply.whole(answers, usage(answers, request.answers)))

    def counted(
        work: Callable[[Request, bytes], Awaitable[tuple[str, Response]]],
    ) -> Counted:
        async def run(http: Request) -> Response:
            server.authorise(http)
            body = await _body(http, limits.body_bytes)
            try:
                name, response = await work(http, body)
            except ApiError as error:
                server.metrics.requests.labels("", str(error.status)).inc()
                raise
            server.metrics.requests.labels(name, str(response.status_code)).inc()
            return response

        return run

    @app.post("/v1/chat/completions")
    @counted
    async def chat(http: Request, body: bytes) -> tuple[str, Response]:
        request = read(ChatRequest, body)
        server.system(request.model)
        reply = ChatReply(
            f"chatcmpl-{secrets.token_hex(12)}",
            int(time.time()),
            request.model,
            bool(request.logprobs),
        )
        prompts = [server.chat_prompt(request)]
        tokens = most(request.tokens, 256)
        top = request.top_logprobs or 0
        wanted = server.answers(request, prompts, tokens, top, heard=bool(request.heard))
        return request.model, await answered(http, request, reply, wanted)

    @app.post("/v1/completions")
    @counted
    async def complete(http: Request, body: bytes) -> tuple[str, Response]:
        request = read(CompletionRequest, body)
        model = server.system(request.model).model
        if request.sharer_context is not None:
            raise ApiError(
                400, "sharer_context belongs to /v1/chat/completions.", param="sharer_context"
            )
        tokenizer = model.receiver.text_tokenizer
        size = len(tokenizer)
        ids = [
            tokenizer(each)["input_ids"] if isinstance(each, str) else each
            for each in request.prompts
        ]
        for each in ids:
            if not each or max(each) >= size:
                raise ApiError(
                    400, f"A prompt has tokens, of numbers below {size}.", param="prompt"
                )
        reply = TextReply(
            f"cmpl-{secrets.token_hex(12)}",
            int(time.time()),
            request.model,
            request.logprobs is not None,
        )
        if request.echo:
            wanted = server.echoes(request, ids)
            return request.model, await answered(http, request, reply, wanted)
        prompts = [Prompt(ids=tuple(each)) for each in ids]
        tokens = most(request.max_tokens, 16)
        if tokens == 0:
            raise ApiError(400, "max_tokens 0 needs echo.", param="max_tokens")
        wanted = server.answers(request, prompts, tokens, request.logprobs or 0)
        return request.model, await answered(http, request, reply, wanted)

    @app.post("/v1/embeddings")
    async def embed(http: Request) -> Response:
        server.authorise(http)
        raise ApiError(
            400, "Champions answer, and embed nothing: use another server.", code="unsupported"
        )


def _add_looks(app: FastAPI, server: Server) -> None:
    @app.get("/v1/models")
    async def models(http: Request) -> dict[str, Any]:
        server.authorise(http)
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": server.started,
                    "owned_by": "c2c-search",
                }
                for name in server.systems
            ],
        }

    @app.get("/v1/models/{name:path}")
    async def model(http: Request, name: str) -> dict[str, Any]:
        server.authorise(http)
        server.system(name)
        return {"id": name, "object": "model", "created": server.started, "owned_by": "c2c-search"}

    @app.get("/champions")
    async def champions(http: Request) -> list[dict[str, Any]]:
        server.authorise(http)
        return [{"name": name, **each.about} for name, each in server.champions.items()]

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> Response:
        return JSONResponse({"ready": server.engine.ready}, 200 if server.engine.ready else 503)

    @app.get("/metrics")
    async def metrics(http: Request) -> Response:
        server.authorise(http)
        return Response(server.metrics.text(), media_type="text/plain; version=0.0.4")

    for path, file in _PAGE_FILES.items():
        app.add_api_route(path, _page(file), include_in_schema=False)


def _page(file: str) -> Callable[[], Awaitable[Response]]:
    async def page() -> Response:
        headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
        return FileResponse(PAGE / file, headers=headers)

    return page
