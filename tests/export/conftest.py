"""A tiny model and what the export makes of it, each made once for the run."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.model import CHAT_FOLDER
from export import from_hub, pipeline, profiles, to_onnx, to_triton
from export.artifacts import Draft, Graph, Publication, SourceModel
from export.options import ExportOptions
from export.progress import Progress
from tests.export.tiny_model import make_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sentence-transformers model with random weights; not to be written to."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def options(tiny_model: Path, tmp_path: Path) -> ExportOptions:
    """An export of the tiny model into a repository of the test's own."""
    return ExportOptions(model=str(tiny_model), name="tiny", repository=tmp_path / "repository")


@pytest.fixture
def source(options: ExportOptions) -> SourceModel:
    """The tiny model, found."""
    return from_hub.find_model(options)


@pytest.fixture(scope="session")
def converted(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The tiny model's graph; not to be moved."""
    folder = tmp_path_factory.mktemp("converted")
    found = from_hub.find_model(ExportOptions(model=str(tiny_model), name="tiny", repository=folder))
    return to_onnx.convert_embedder(found, folder / "graph")


@pytest.fixture
def draft(options: ExportOptions, source: SourceModel, converted: Graph, tmp_path: Path) -> Draft:
    """Both models of a version of the tiny model, assembled from a copy of its graph."""
    graph_folder = tmp_path / "graph"
    graph_folder.mkdir()
    copy = graph_folder / converted.path.name
    copy.write_bytes(converted.path.read_bytes())
    staging = tmp_path / "staging"
    staging.mkdir()
    return to_triton.assemble(
        options, source, replace(converted, path=copy), profiles.cpu_profile(2), staging
    )


@pytest.fixture(scope="session")
def published(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """The tiny model, exported and published once by the whole pipeline; not to be written to."""
    repository = tmp_path_factory.mktemp("published") / "repository"
    return pipeline.run_export(
        ExportOptions(model=str(tiny_model), name="tiny", repository=repository), Progress(None)
    )


@pytest.fixture(scope="session")
def chat_source() -> SourceModel:
    """The toy that chats, found in this checkout."""
    options = ExportOptions(model=str(CHAT_FOLDER), name="chat", repository=Path("nowhere"))
    return from_hub.find_model(options)


@pytest.fixture(scope="session")
def chat_graph(chat_source: SourceModel, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """Its graph in fp32; not to be moved."""
    from export.to_decoder import build_decoder  # noqa: PLC0415 - few tests need it

    return build_decoder(chat_source, tmp_path_factory.mktemp("chat") / "graph", "fp32")


@pytest.fixture
def chat_draft(chat_source: SourceModel, chat_graph: Graph, tmp_path: Path) -> Draft:
    """Its version folder, assembled from a copy of that graph."""
    copy = tmp_path / "chat_graph"
    shutil.copytree(chat_graph.path.parent, copy)
    options = ExportOptions(model=str(CHAT_FOLDER), name="chat", repository=tmp_path / "repository")
    staging = tmp_path / "chat"
    staging.mkdir()
    moved = replace(chat_graph, path=copy / chat_graph.path.name)
    return to_triton.assemble(options, chat_source, moved, profiles.cpu_profile(2), staging)
