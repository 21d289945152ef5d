"""A path's route is known without a router."""

import pytest
from fastapi import APIRouter, FastAPI

from facade.routes.templates import build_namer


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/plain", "/plain"),
        ("/models/minilm", "/models/{model}"),
        ("/models/a/b", None),
        ("/plain/", None),
        ("/models/{model}", "/models/{model}"),
        ("/", None),
        ("", None),
    ],
)
def test_a_path_is_named_after_its_route(path: str, template: str | None) -> None:
    """Routes of included routers count; what leads nowhere has no name."""
    router = APIRouter()
    for registered in ("/plain", "/models/{model}"):
        router.add_api_route(registered, lambda: None)
    app = FastAPI(openapi_url=None)
    app.include_router(router)

    assert build_namer(app.router.routes)(path) == template
