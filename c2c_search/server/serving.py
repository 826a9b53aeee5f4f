"""Champions, the systems made of them, and their answers on the way to a client."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from fastapi import Request

from c2c_search.errors import C2CError
from c2c_search.server.engine import Engine
from c2c_search.server.engine import Job
from c2c_search.server.failures import ApiError
from c2c_search.server.failures import failed
from c2c_search.server.likelihoods import prompt_length
from c2c_search.server.metrics import Metrics
from c2c_search.server.replies import END
from c2c_search.server.replies import ChatReply
from c2c_search.server.replies import TextReply
from c2c_search.server.replies import event
from c2c_search.server.replies import usage
from c2c_search.server.requests import AnswerRequest
from c2c_search.server.requests import ChatRequest
from c2c_search.server.requests import CompletionRequest
from c2c_search.server.systems import systems_of
from c2c_search.server.writing import Echo
from c2c_search.server.writing import Prompt
from c2c_search.server.writing import Wanted
from c2c_search.server.writing import Written
from c2c_search.tokenization.templates import Message


if TYPE_CHECKING:
    from c2c_search.server.limits import ServerLimits
    from c2c_search.server.systems import System


_LOOK_SECONDS = 0.5  # between two looks whether a client is still there


@dataclass(frozen=True)
class ServedChampion:
    """A champion that is served.

    Args:
        name: First part of its systems' names.
        model: A `C2CModel`.
        document: From a document and a question to what its sharer reads; None where its sharer
            reads what the receiver does.
        about: What the page tells of it.
    """

    name: str
    model: Any
    document: Callable[[str, str], str] | None
    about: Mapping[str, Any]


class Server:
    """Champions, and the engine that answers for them.

    Args:
        champions: What is served.
        limits: What is taken on.
        api_key: What clients must show; None: nothing.
    """

    def __init__(
        self, champions: Sequence[ServedChampion], limits: ServerLimits, api_key: str | None
    ) -> None:
        self.limits, self.api_key = limits, api_key
        self.metrics = Metrics()
        self.engine = Engine(limits, self.metrics)
        self.champions = {champion.name: champion for champion in champions}
        self.systems: dict[str, System] = {}
        self._champion_of: dict[str, ServedChampion] = {}
        for champion in champions:
            systems = systems_of(champion.name, champion.model, self.engine.group)
            self.systems |= systems
            self._champion_of |= dict.fromkeys(systems, champion)
        self.started = int(time.time())

    def system(self, name: str) -> System:
        """A system by name.

        Raises:
            ApiError: There is none.
        """
        if name not in self.systems:
            raise ApiError(
                404,
                f"The model must be one of {', '.join(self.systems)}.",
                param="model",
                code="model_not_found",
            )
        return self.systems[name]

    def authorise(self, request: Request) -> None:
        """Look at the client's key.

        Raises:
            ApiError: It is missing or wrong.
        """
        if self.api_key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.api_key.encode()):
            raise ApiError(
                401, "An API key is needed: Authorization: Bearer KEY.", code="invalid_api_key"
            )

    def chat_prompt(self, request: ChatRequest) -> Prompt:
        """What is to be answered, with the document that the sharer alone reads.

        Raises:
            ApiError: A document is given to a champion that hears none.
        """
        turns = [
            Message(role="system" if turn.role == "developer" else turn.role, content=turn.text)
            for turn in request.messages
        ]
        theirs = self._sharer_turns(request, turns)
        if theirs is not None and request.model.endswith("/sharer"):  # alone, it reads both
            return Prompt(turns=theirs)
        return Prompt(turns=tuple(turns), sharer_turns=theirs)

    def _sharer_turns(
        self, request: ChatRequest, turns: Sequence[Message]
    ) -> tuple[Message, ...] | None:
        if request.sharer_context is None:
            return None
        champion = self._champion_of[request.model]
        if champion.document is None:
            raise ApiError(
                400,
                "This champion's sharer reads what the receiver reads; leave sharer_context out.",
                param="sharer_context",
                code="unsupported_value",
            )
        if request.model.endswith("/receiver"):
            return None
        last = max((n for n, turn in enumerate(turns) if turn["role"] == "user"), default=-1)
        question = turns[last]["content"]
        read = champion.document(request.sharer_context, question)
        return (*turns[:last], Message(role="user", content=read), *turns[last + 1 :])

    def answers(
        self,
        request: AnswerRequest,
        prompts: Sequence[Prompt],
        tokens: int,
        top: int,
        *,
        heard: bool = False,
    ) -> list[Wanted]:
        """The answers that are asked for, one prompt's after the other's.

        Args:
            request: What is asked.
            prompts: What is to be answered.
            tokens: Most of an answer.
            top: Likeliest tokens that are told beside each one.
            heard: Whether to tell what the receiver has heard.

        Raises:
            ApiError: Several, which would all be the same.
        """
        if request.answers > 1 and not request.temperature:
            raise ApiError(400, "n above 1 needs a temperature above 0.", param="n")
        settings = request.settings(tokens)
        seed = secrets.randbelow(2**62) if request.seed is None else abs(request.seed)
        return [
            Wanted(prompt, settings, seed + answer, top, heard=heard)
            for prompt in prompts
            for answer in range(request.answers)
        ]

    def echoes(self, request: CompletionRequest, texts: Sequence[Sequence[int]]) -> list[Wanted]:
        """Texts that are to be scored.

        Args:
            request: What is asked.
            texts: The receiver's tokens.

        Raises:
            ApiError: More is asked than to score, or the sharer has nothing to read in one.
        """
        for field in ("stream", "temperature", "stop", "top_p"):
            if getattr(request, field):
                raise ApiError(400, f"echo scores a text: leave {field} out.", param=field)
        if (request.max_tokens or 0) > 1 or request.answers > 1:
            raise ApiError(400, "echo is for scoring: set max_tokens to 0 or 1.", param="echo")
        model, settings = self.system(request.model).model, request.settings(1)
        found = []
        for ids in texts:
            count = prompt_length(model, ids)
            echo = Echo(tuple(ids[count:]), goes_on=bool(request.max_tokens))
            prompt = Prompt(ids=tuple(ids[:count]))
            found.append(Wanted(prompt, settings, top=request.logprobs or 0, echo=echo))
        return found

    def jobs(
        self, request: AnswerRequest, wanted: Sequence[Wanted]
    ) -> tuple[list[Job], asyncio.Queue[tuple[int, Any]]]:
        """A job for each answer that is asked for, and where their events come.

        An event is a job's number and words that came, or the answer, or what went wrong.

        Raises:
            ApiError: More is asked than is taken on.
        """
        if len(wanted) > self.limits.choices:
            raise ApiError(
                400, f"One request may ask for {self.limits.choices} answers.", param="n"
            )
        system = self.system(request.model)
        events: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(number: int, what: Any) -> None:
            try:
                loop.call_soon_threadsafe(events.put_nowait, (number, what))
            except RuntimeError:  # the loop has ended, and who waited with it
                return

        def job(number: int, wanted: Wanted) -> Job:
            return Job(
                system.answer(wanted),
                tell=lambda text, told: put(number, (text, told)),
                done=lambda outcome: put(number, outcome),
                deadline=time.monotonic() + self.limits.seconds,
            )

        return [job(number, each) for number, each in enumerate(wanted)], events

    async def whole(
        self, http: Request, request: AnswerRequest, jobs: list[Job], events: asyncio.Queue[Any]
    ) -> list[Written]:
        """All answers, once they are written; nobody's, where the client has gone.

        Raises:
            ApiError: One failed.
        """
        answers: dict[int, Written] = {}
        begun, told = time.monotonic(), False
        try:
            while len(answers) < len(jobs):
                try:
                    number, what = await asyncio.wait_for(events.get(), _LOOK_SECONDS)
                except TimeoutError:
                    if await http.is_disconnected():
                        raise ApiError(499, "The client has gone.") from None
                    continue
                if isinstance(what, tuple):
                    if not told:
                        self._first_words(request, begun)
                    told = True
                else:
                    answers[number] = self._written(request, what)
        finally:
            for job in jobs:
                job.cancelled = True
        return [answers[number] for number in range(len(jobs))]

    async def stream(
        self, request: AnswerRequest, reply: ChatReply | TextReply, jobs: list[Job], events: Any
    ) -> AsyncIterator[str]:
        """Server-sent events of all answers, as they are written."""
        answers: list[Written] = []
        begun = time.monotonic()
        seen: set[int] = set()
        try:
            while len(answers) < len(jobs):
                number, what = await events.get()
                if isinstance(what, tuple):
                    text, tokens = what
                    if not seen:
                        self._first_words(request, begun)
                    yield event(reply.part(number, text, tokens, first=number not in seen))
                    seen.add(number)
                    continue
                answers.append(self._written(request, what))
                if number not in seen:  # what was decided before it was told
                    yield event(reply.part(number, what.text, what.tokens, first=True))
                yield event(reply.end(number, what))
            if request.usage_in_stream:
                yield event(reply.last(usage(answers, request.answers)))
            yield END
        except ApiError as error:
            yield event(error.body())
        finally:
            for job in jobs:
                job.cancelled = True

    def _first_words(self, request: AnswerRequest, begun: float) -> None:
        self.metrics.first_token.labels(request.model).observe(time.monotonic() - begun)

    def _written(self, request: AnswerRequest, outcome: Written | Exception) -> Written:
        if isinstance(outcome, ApiError):
            raise outcome
        if isinstance(outcome, C2CError) and outcome.exit_code == 2:
            raise ApiError(400, without_paths(outcome), code="refused") from outcome
        if isinstance(outcome, Exception):
            raise failed() from outcome
        tokens = self.metrics.tokens
        tokens.labels(request.model, "prompt").inc(outcome.prompt_tokens)
        tokens.labels(request.model, "answer").inc(outcome.new_tokens)
        if outcome.listened is not None:
            listened = "yes" if outcome.listened else "no"
            self.metrics.listened.labels(request.model, listened).inc()
        return outcome


def without_paths(error: C2CError) -> str:
    """A refusal's rule, which is ours; its value may name a path of this machine."""
    return error.rule
