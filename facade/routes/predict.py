"""``POST /predict``: one plain route for every task; each task answers for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from facade.errors import InvalidInput
from facade.routes.direct import Documented
from facade.schemas import decode
from facade.schemas.predict import PREDICT_DECODER, PredictRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.routes.direct import Endpoint, EventStream


class PlainTask(Protocol):
    """Answers ``POST /predict`` for the models of one task."""

    async def __call__(
        self, wanted: PredictRequest, model: ServedModel, context: RequestContext
    ) -> bytes | EventStream:
        """
        Answer one request.

        Args:
            wanted: The request.

            model: Who is to answer.

            context: Who asks.

        Returns:
            JSON, or a stream of events.

        Raises:
            FacadeError: If there is no such answer.
        """


DOCUMENTED = Documented(
    "/predict",
    "plain",
    PredictRequest,
    "Run a model on one input or several; the result has the shape of the input.",
)


def build_endpoint(
    catalogue: Catalogue, tasks: Mapping[str, PlainTask], default_model: str | None
) -> Endpoint:
    """
    Make the endpoint.

    Args:
        catalogue: Which models there are.

        tasks: What answers, by the model card's task.

        default_model: What answers when the request names no model and several are served.

    Returns:
        What answers ``POST /predict``.
    """

    async def predict(context: RequestContext, body: bytes) -> bytes | EventStream:
        wanted = decode(PREDICT_DECODER, body)
        name = wanted.model or choose_model(catalogue, default_model, context.key_models)
        model = catalogue.find(name, context.key_models)
        answer = tasks.get(model.card.task)
        if answer is None:
            raise InvalidInput(
                f"The model {name!r} is for {model.card.task}, not for /predict.", param="model"
            )
        return await answer(wanted, model, context)

    return predict


def choose_model(catalogue: Catalogue, default_model: str | None, globs: tuple[str, ...]) -> str:
    """
    Choose who answers a request that names no model.

    Args:
        catalogue: Which models there are.

        default_model: The operator's choice, if any.

        globs: Patterns of the names that the caller may use.

    Returns:
        A model's name.

    Raises:
        InvalidInput: If there are several and the operator chose none.
    """
    if default_model is not None:
        return default_model
    names = [model.name for model in catalogue.visible(globs)]
    if len(names) > 1:
        raise InvalidInput(f"'model' is missing; name one of {', '.join(names)}.", param="model")
    # With none at all, the catalogue's own look-up says why.
    return names[0] if names else "default"
