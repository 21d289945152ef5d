"""
One export, from what was asked for to what was published: the only module that knows the order of the steps.

    find the model -> convert -> assemble door and core -> compare with the original -> publish

What converting, assembling and comparing mean is each task's own matter (`tasks`).

Everything grows in a staging folder that nobody reads; a step that fails leaves the repository as it was.
"""

import importlib.util

from export import from_hub, manifest, profiles, releases
from export.artifacts import ParityReport, Publication, SourceModel
from export.errors import ExtraMissing, RepositoryError
from export.options import ExportOptions, check_options
from export.profiles import TargetProfile
from export.progress import Progress

EXTRA_PACKAGES = (
    "onnx",
    "onnxruntime",
    "optimum",
    "sentence_transformers",
    "tokenizers",
    "torch",
    "transformers",
)
"""What the `export` extra installs, by import name."""


def run_export(options: ExportOptions, progress: Progress) -> Publication:
    """
    Export a model.

    Args:
        options: What was asked for.

        progress: Told about each long step.

    Returns:
        What was published, or the equal version that was there already.

    Raises:
        ExportError: The kind that fits; nothing was published then.
    """
    check_options(options)
    require_extra()
    with progress.step(f"Finding {options.model}"):
        source = from_hub.find_model(options)
    profile = profiles.profile_for(options.target)
    releases.open_repository(options.repository)
    existing = _find_existing(options, source, profile)
    if existing is not None:
        progress.tell(f"{options.name} version {existing.version} is up to date.")
        return existing
    try:
        return _make(options, source, profile, progress)
    except OSError as error:
        raise RepositoryError(
            f"Writing beside {options.repository} failed: {error.strerror or error}. "
            "Check permissions and free space; nothing was published."
        ) from error


def require_extra() -> None:
    """
    See that the packages which convert models are there, without importing them.

    Raises:
        ExtraMissing: If one isn't.
    """
    missing = [package for package in EXTRA_PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        raise ExtraMissing(f"Missing: {', '.join(missing)}. Install them with: pip install '.[export]'")


def _make(
    options: ExportOptions, source: SourceModel, profile: TargetProfile, progress: Progress
) -> Publication:
    """Take a found model through the heavy steps."""
    with progress.step("Loading the converters"):
        # Imported here because torch takes seconds, and a wrong command has been answered by now.
        from export import tasks, to_triton  # noqa: PLC0415

        task = tasks.load_task(source.task)

    with releases.staging_folder(options.repository) as staging:
        with progress.step(f"Converting {source.model_id}"):
            graph = task.convert(source, staging / "graph")
        draft = to_triton.assemble(options, source, graph, profile, staging)
        with progress.step("Comparing with the original"):
            report = task.compare(source, draft, options.precision)
        progress.tell(tell_figures(report))
        with progress.step(f"Publishing to {options.repository}"):
            return to_triton.publish_model(options, source, profile, draft, report)


def tell_figures(report: ParityReport) -> str:
    """
    Sum up a comparison in one line.

    Args:
        report: The passed comparison.

    Returns:
        Each figure with what was required.
    """
    figures = (
        f"{name} {value:.7g} (required {report.required[name]:g})" for name, value in report.figures.items()
    )
    return f"Parity over {len(report.points)} batches: {', '.join(figures)}"


def _find_existing(options: ExportOptions, source: SourceModel, profile: TargetProfile) -> Publication | None:
    """Return the stable version if it was made by this recipe with these tools, and the caller wants to know."""
    if not options.skip_existing:
        return None
    stable = releases.stable_version(options.repository, options.name)
    if stable is None:
        return None
    found = manifest.read_manifest(options.repository / options.name / str(stable))
    if found is None or found["recipe"] != manifest.recipe(options, source, profile):
        return None
    if found["tools"] != manifest.tool_versions():
        return None
    return Publication(options.name, stable, options.repository, found, is_new=False)
