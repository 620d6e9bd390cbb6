"""Document: what the OpenAPI document says beside the paths: errors, and the token."""

from typing import Any

from fastapi import FastAPI

from blofin_agent.web.models import ProblemModel
from blofin_agent.web.problem_details import MEDIA_TYPE

_TEXTS = {
    400: "The header Host names another agent.",
    401: "The token is wanted.",
    404: "The symbol is not watched.",
    422: "A parameter cannot be.",
    503: "The database cannot be read now.",
}
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "API_TOKEN; not wanted where that is not set",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how these errors are told."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _TEXTS[status],
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def finish(api: FastAPI) -> None:
    """Make the document, once all paths are there; it does not change any more."""
    made = api.openapi()
    parts = made["components"]
    problem = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
    parts["schemas"] |= problem.pop("$defs")
    parts["schemas"]["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(unused, None)
    parts["securitySchemes"] = {"token": _TOKEN}
    made["security"] = [{"token": []}, {}]
