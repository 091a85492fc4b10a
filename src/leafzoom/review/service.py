"""The page of a review on this machine: what it shows, and where decisions are saved."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from leafzoom.errors import LeafzoomError, PhotoError
from leafzoom.review.decisions import CHOICES, Choice, DecisionFile, ReviewDecision, now
from leafzoom.review.items import Review, ReviewItem
from leafzoom.review.pictures import ReviewPictures
from leafzoom.serve.access import Access
from leafzoom.serve.guard import SECURITY_HEADERS, access_refusal, refusal
from leafzoom.serve.limits import Limits, TooLargeError
from leafzoom.serve.middleware import HeadMiddleware
from leafzoom.serve.uploads import limited_body

__all__ = ["create_review_app"]

_MAX_BODY_BYTES = 16 * 1024
_LOG = logging.getLogger("leafzoom.review")


def create_review_app(review: Review, decisions: DecisionFile) -> FastAPI:
    """The application of a review; it answers to loopback's names alone.

    Args:
        review: what is shown.
        decisions: where decisions are saved.
    """
    app = FastAPI(title="leafzoom review", docs_url=None, redoc_url=None, openapi_url=None)
    _add_picture_routes(app, ReviewPictures(review))
    _add_decision_routes(app, review, decisions)
    _add_guard(app)
    app.add_middleware(HeadMiddleware)

    folder = resources.files("leafzoom.review") / "page"
    app.mount("/", StaticFiles(directory=str(folder), html=True), name="page")
    return app


def _add_picture_routes(app: FastAPI, pictures: ReviewPictures) -> None:
    """Add the pictures of the items."""

    @app.get("/api/items/{number}/views/{scale}.jpg")
    async def view(number: int, scale: int, evidence: str | None = None) -> Response:
        """A view of an item, with what speaks for a label where one is named."""
        _check_positive(number, scale)
        if evidence is None:
            return await _picture(pictures.view, number, scale)
        return await _picture(pictures.evidence, number, scale, evidence)

    @app.get("/api/items/{number}/twin.jpg")
    async def twin(number: int) -> Response:
        """The near-duplicate of an item."""
        _check_positive(number, 1)
        return await _picture(pictures.twin, number)


def _add_decision_routes(app: FastAPI, review: Review, decisions: DecisionFile) -> None:
    """Add the review itself, and what saves and takes back a decision."""

    @app.get("/api/review")
    async def content() -> dict[str, Any]:
        """The items, and the decisions so far by the items' numbers."""
        decided = decisions.all()
        numbers = {item.image_name: number for number, item in enumerate(review.items)}
        return {
            **{key: value for key, value in asdict(review).items() if key != "items"},
            "items": [_item_content(item) for item in review.items],
            "decisions": {
                numbers[name]: _decision_content(decision)
                for name, decision in decided.items()
                if name in numbers
            },
            "saved_in": str(decisions.path),
        }

    @app.put("/api/decisions/{number}")
    async def save(number: int, request: Request) -> Response:
        """Save a decision; it is on the disk when the answer comes."""
        item = _item(review, number)
        body = await _json_body(request)
        decision = _decision_of(body, item, review)
        await run_in_threadpool(decisions.save, decision)
        return JSONResponse(_decision_content(decision))

    @app.delete("/api/decisions/{number}")
    async def take_back(number: int) -> Response:
        """Take back a decision."""
        item = _item(review, number)
        await run_in_threadpool(decisions.remove, item.image_name)
        return JSONResponse({})


def _add_guard(app: FastAPI) -> None:
    """Refuse other sites and other host names, turn faults into answers, set the headers."""
    access = Access(any_host=False)

    @app.middleware("http")
    async def guard(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = access_refusal(request, access)
        if response is None:
            try:
                response = await call_next(request)
            except LeafzoomError as error:
                response = refusal(500, str(error))
            except Exception:
                _LOG.exception("an answer failed")
                response = refusal(500, "the review's service failed: try again")

        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response


async def _picture(draw: Callable[..., bytes], *arguments: Any) -> Response:
    """A picture as a JPEG, drawn in a thread.

    Raises:
        HTTPException: there is no such picture, or it cannot be drawn.
    """
    try:
        content = await run_in_threadpool(draw, *arguments)
    except (IndexError, KeyError) as error:
        raise HTTPException(404, "there is no such picture") from error
    except PhotoError as error:
        raise HTTPException(410, str(error)) from error
    return Response(content, media_type="image/jpeg")


def _check_positive(number: int, scale: int) -> None:
    """Refuse numbers that would count from the end."""
    if number < 0 or scale < 1:
        raise HTTPException(404, "there is no such picture")


def _item(review: Review, number: int) -> ReviewItem:
    if not 0 <= number < len(review.items):
        raise HTTPException(404, f"the review has no item {number}")
    return review.items[number]


async def _json_body(request: Request) -> dict[str, Any]:
    """The object of a request's body.

    Raises:
        HTTPException: it is too large or no JSON object.
    """
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON")
    try:
        body = await limited_body(request, Limits(), _MAX_BODY_BYTES).body()
        content = json.loads(body)
    except TooLargeError as error:
        raise HTTPException(413, "the decision is too large") from error
    except (TimeoutError, ClientDisconnect) as error:
        raise HTTPException(408, "the decision did not arrive: try again") from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the decision is no JSON") from error
    if not isinstance(content, dict):
        raise HTTPException(400, "the decision is no JSON object")
    return content


def _decision_of(body: dict[str, Any], item: ReviewItem, review: Review) -> ReviewDecision:
    """The decision that a request asks for.

    Raises:
        HTTPException: an unknown choice or label, or a change to no labels.
    """
    choice = _choice_of(body)
    labels = _labels_of(body, review)
    if choice == "change" and not labels:
        raise HTTPException(422, "tick at least one label, or leave the photograph out")

    # Labels that come out as they were are kept, however they were chosen.
    if choice == "change" and item.is_labelled and set(labels) == set(item.given):
        choice = "keep"
    return ReviewDecision(
        image_name=item.image_name,
        choice=choice,
        labels=labels if choice == "change" else item.given,
        given=item.given,
        suggested=item.suggested,
        kinds=item.kinds,
        score=item.score,
        decided_at=now(),
    )


def _choice_of(body: dict[str, Any]) -> Choice:
    """The choice that a request makes."""
    for choice in CHOICES:
        if choice == body.get("choice"):
            return choice
    raise HTTPException(422, f"choice has to be one of {', '.join(CHOICES)}")


def _labels_of(body: dict[str, Any], review: Review) -> tuple[str, ...]:
    """The labels that a request ticks, in the review's order."""
    ticked = body.get("labels", [])
    if not isinstance(ticked, list) or not set(map(str, ticked)) <= set(review.labels):
        raise HTTPException(422, f"labels has to be a list of {', '.join(review.labels)}")
    return tuple(label for label in review.labels if label in ticked)


def _item_content(item: ReviewItem) -> dict[str, Any]:
    """An item for the page, which needs no paths."""
    return {key: value for key, value in asdict(item).items() if key not in ("path", "twin_path")}


def _decision_content(decision: ReviewDecision) -> dict[str, Any]:
    return {"choice": decision.choice, "labels": list(decision.labels)}
