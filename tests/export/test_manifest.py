"""Provenance."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from export import manifest
from export.artifacts import Publication, SourceModel
from export.options import ExportOptions
from export.profiles import cpu_profile


def test_every_file_is_hashed(published: Publication) -> None:
    """Each published file but the manifest itself has its SHA-256 there, and it is right."""
    on_disk = {
        f"{part}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for part, name in (("door", "tiny"), ("core", "tiny_core"))
        for path in (published.repository / name / "1").iterdir()
        if path.name != manifest.MANIFEST_FILE
    }
    assert published.manifest["files"] == on_disk


def test_the_manifest_says_where_a_version_came_from(published: Publication) -> None:
    """Source, tools, precision, parity and a recent UTC date are recorded, and read back equal."""
    read = manifest.read_manifest(published.repository / "tiny" / "1")
    assert read == published.manifest
    assert read["recipe"]["model_id"] == "tiny"
    assert len(read["recipe"]["source_fingerprint"]) == 64
    assert read["recipe"]["precision"] == "fp32"
    assert read["tools"]["torch"]
    assert read["parity"]["min_cosine"] >= 0.9999
    assert read["card"]["task"] == "embedding"
    age = datetime.now(UTC) - datetime.fromisoformat(read["created_at"])
    assert 0 <= age.total_seconds() < 3600


def test_equal_recipes_make_equal_models(options: ExportOptions, source: SourceModel) -> None:
    """The recipe changes with the source, the profile and what was asked for, and with nothing else."""
    profile = cpu_profile(2)
    same = manifest.recipe(options, source, profile)
    assert same == manifest.recipe(replace(options, name="other"), source, profile)
    assert same != manifest.recipe(options, replace(source, fingerprint="0"), profile)
    assert same != manifest.recipe(options, source, cpu_profile(8))
    assert same != manifest.recipe(replace(options, precision="int8"), source, profile)


def test_unreadable_manifests_are_none(tmp_path: Path) -> None:
    """A missing manifest, a damaged one, one of another schema and one without its sections can't be relied on."""
    assert manifest.read_manifest(tmp_path) is None
    for content in ("{", "[]", '{"schema": 0}', '{"schema": 1}', '{"schema": 1, "files": []}'):
        (tmp_path / manifest.MANIFEST_FILE).write_text(content)
        assert manifest.read_manifest(tmp_path) is None
