"""
One export, from what was asked for to what was published: the only module that knows the order of the steps.

    find the model -> convert -> for each precision: transform, assemble door and core, compare with the original
    -> measure those that passed, choose one -> build its plan, where TensorRT runs it -> publish

What converting, assembling and comparing mean is each task's own matter (`tasks`).

Everything grows in a staging folder that nobody reads; a step that fails leaves the repository as it was.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from export import from_hub, manifest, profiles, releases, targets, tensorrt_plan
from export.artifacts import Draft, Graph, ParityReport, Publication, SourceModel, Speed, Trial
from export.engines import CoreEngine, plan_file, shape_ranges
from export.errors import INSTALL_EXTRA, BadInput, ExtraMissing, ParityFailed, RepositoryError
from export.following import connected
from export.options import ExportOptions, check_options
from export.profiles import TargetProfile
from export.progress import Progress
from export.targets import Target
from export.tasks.base import Task

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
    with connected(options.tritons):
        pass  # it is seen now, and not after an hour's work, that they are there and can follow
    if options.engine == "tensorrt":
        tensorrt_plan.require_builder(targets.find_target(options.target), again=repeat_command(options))
    with progress.step(f"Finding {options.model}"):
        source = from_hub.find_model(options)
    for note in source.notes:
        progress.tell(note)
    targets.check_task_fits(source.task, options.engine, options.precision)
    profile = profiles.profile_for(options.target).fit(source.max_input_tokens)
    releases.open_repository(options.repository)
    _check_same_task(options, source)
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
        raise ExtraMissing(f"Missing: {', '.join(missing)}. {INSTALL_EXTRA}")


@dataclass(frozen=True)
class Job:
    """One export under way: what every step of it needs."""

    options: ExportOptions
    """What was asked for."""

    source: SourceModel
    """The original's files."""

    target: Target
    """The hardware."""

    profile: TargetProfile
    """Its numbers, fitted to the model."""

    task: Task
    """The task's own steps."""

    staging: Path
    """A folder that nobody reads."""

    progress: Progress
    """Told about each long step."""


def _make(
    options: ExportOptions, source: SourceModel, profile: TargetProfile, progress: Progress
) -> Publication:
    """Take a found model through the heavy steps."""
    with progress.step("Loading the converters"):
        # Imported here because torch takes seconds, and a wrong command has been answered by now.
        from export import tasks, to_triton  # noqa: PLC0415

        task = tasks.load_task(source.task, options)

    with releases.staging_folder(options.repository) as staging:
        job = Job(options, source, targets.find_target(options.target), profile, task, staging, progress)
        with progress.step(f"Converting {source.model_id}"):
            raw = task.convert(source, staging / "raw" / "graph")
        trials, passed = _try_precisions(job, raw)
        trials, why = _choose(job, trials, passed)
        draft, report = passed[next(trial.precision for trial in trials if trial.chosen)]
        engine = _make_engine(job, draft)
        with progress.step(f"Publishing to {options.repository}"):
            made = how_made(job.target, engine, trials, why)
            return to_triton.publish_model(options, source, profile, draft, report, engine=engine, made=made)


def _try_precisions(job: Job, raw: Graph) -> tuple[list[Trial], dict[str, tuple[Draft, ParityReport]]]:
    """Transform, assemble and compare each precision that is wanted; with several, one may fail."""
    from export import precisions, to_triton  # noqa: PLC0415 - heavy

    wanted = precisions.wanted(job.target, job.options.precision, raw, job.source.task)
    trials: list[Trial] = []
    passed: dict[str, tuple[Draft, ParityReport]] = {}
    for precision in wanted:
        home = job.staging / precision
        with job.progress.step(f"Comparing {precision} with the original"):
            candidate = precisions.make(raw, precision, home)
            size_bytes = precisions.size_of(candidate.graph)
            draft = to_triton.assemble(job.options, job.source, candidate.graph, job.profile, home)
            runs_here = candidate.stand_in is candidate.graph
            compared = draft if runs_here else replace(draft, graph=candidate.stand_in)
            try:
                report = job.task.compare(job.source, compared, precision)
            except ParityFailed as failure:
                if precision == wanted[-1] and not passed:
                    raise
                trials.append(Trial(precision, size_bytes, failure=str(failure)))
                continue
        job.progress.tell(tell_figures(report))
        trials.append(Trial(precision, size_bytes, parity=dict(report.figures)))
        passed[precision] = (draft, report)
    return trials, passed


def _choose(
    job: Job, trials: list[Trial], passed: dict[str, tuple[Draft, ParityReport]]
) -> tuple[list[Trial], str]:
    """Measure the precisions that passed where that is possible, and choose one."""
    from export import precisions, timing  # noqa: PLC0415 - heavy

    speeds: dict[str, Speed] = {}
    if len(passed) > 1 and not job.target.is_gpu:
        with job.progress.step("Measuring the precisions that passed"):
            graphs = {precision: draft.graph.path for precision, (draft, _) in passed.items()}
            inputs = next(iter(passed.values()))[0].graph.inputs
            feeds = timing.make_feeds(inputs, job.source.max_input_tokens)
            speeds = timing.measure_speeds(graphs, feeds, max(1, job.profile.core_threads))
    chosen, why = precisions.choose(list(passed), speeds)
    judged = [
        replace(trial, speed=speeds.get(trial.precision), chosen=trial.precision == chosen)
        for trial in trials
    ]
    if len(trials) > 1:
        for line in (*precisions.table(judged), why):
            job.progress.tell(line)
    return judged, why


def _make_engine(job: Job, draft: Draft) -> CoreEngine:
    """Name what runs the core; for TensorRT, build the plan of this machine's GPU beside the graph."""
    if job.options.engine != "tensorrt" or draft.core_folder is None:
        return CoreEngine(accelerator=job.options.accelerator)
    capability = str(job.target.compute_capability)
    ranges = shape_ranges(draft.graph.inputs, job.profile)
    with job.progress.step(f"Building a TensorRT plan for {job.target.title}"):
        plan = tensorrt_plan.build_plan(draft.graph.path, ranges, job.profile.workspace_bytes)
        (draft.core_folder / plan_file(capability)).write_bytes(plan)
    return CoreEngine("tensorrt", plans={capability: plan_file(capability)})


def how_made(target: Target, engine: CoreEngine, trials: Sequence[Trial], why: str) -> dict[str, Any]:
    """
    Tell what was tried, and on what hardware it was found to work.

    Args:
        target: The hardware that was asked for.

        engine: What runs the core.

        trials: What became of each precision.

        why: Why the chosen one was.

    Returns:
        What the manifest records beside the recipe.
    """
    made: dict[str, Any] = {
        "precisions": [trial.to_json() for trial in trials],
        "why": why,
        "verified_on": None if target.is_gpu else target.name,
    }
    if target.is_gpu:
        left_out = "the plan was built and not compared" if engine.plans else f"nothing ran on {target.title}"
        made["not_verified"] = f"The graph was compared with the original on a CPU; {left_out}."
    else:
        made["cpu_features"] = list(target.features)
    return made


def repeat_command(options: ExportOptions) -> list[str]:
    """
    Write an export as the command that asks for it.

    Args:
        options: What was asked for.

    Returns:
        The command's words, without what is as by default.
    """
    words = ["triton-export", "export", options.model, "--name", options.name]
    standard = ExportOptions(options.model, options.name, options.repository)
    for field in ("task", "target", "engine", "accelerator", "precision", "revision", "model_id"):
        value = getattr(options, field)
        if value != getattr(standard, field):
            words += [f"--{field.replace('_', '-')}", str(value)]
    return [*words, "--repository", str(options.repository)]


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


def _check_same_task(options: ExportOptions, source: SourceModel) -> None:
    """Refuse a version whose callers would get answers of another kind."""
    stable = releases.stable_version(options.repository, options.name)
    folder = options.repository / options.name
    found = manifest.read_manifest(folder / str(stable)) if stable is not None else None
    task = found["recipe"].get("task") if found is not None else None
    if task is not None and task != source.task:
        raise BadInput(
            f"{options.name} is for {task} (version {stable}), and {source.model_id} is for {source.task}: its callers "
            f"would get answers of another kind. Choose another --name, or remove {folder} first."
        )


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
