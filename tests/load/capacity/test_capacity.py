"""The capacity model: pure arithmetic on made-up costs, and its command line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.load.capacity.__main__ import main
from tests.load.capacity.check import check
from tests.load.capacity.costs import MEASURED, Costs, fit
from tests.load.capacity.model import Plan, facade_cpu_us, size, token_cpu_us

if TYPE_CHECKING:
    from pathlib import Path

COSTS = Costs(
    facade_request_us=200,
    facade_known_text_us=10,
    facade_computed_text_us=40,
    facade_computed_request_us=100,
    facade_redis_us=150,
    facade_redis_computed_us=50,
    redis_request_us=20,
    redis_computed_text_us=5,
    redis_request_bytes=1_000,
    redis_computed_text_bytes=2_000,
    redis_answer_bytes=2_048,
    triton_cpu_us_a_token=((10, 400), (30, 200), (100, 300)),
    triton_cores=2,
)
ALONE = Plan(100, uses_redis=False, spares=0, headroom=0)


def _count(plan: Plan, costs: Costs = COSTS) -> dict[str, int]:
    return {need.part: need.count for need in size(costs, plan)}


def test_a_request_costs_its_parts() -> None:
    """Each text by whether it is known, and once more where at least one has to be computed."""
    mixed = replace(ALONE, texts_a_request=2, hit_rate=0.5)

    assert facade_cpu_us(COSTS, replace(ALONE, hit_rate=1)) == 210
    assert facade_cpu_us(COSTS, ALONE) == 340
    assert facade_cpu_us(COSTS, mixed) == 200 + 2 * 25 + 0.75 * 100
    assert facade_cpu_us(COSTS, replace(mixed, uses_redis=True)) == 325 + 150 + 0.75 * 50


@pytest.mark.parametrize(
    ("tokens", "expected"), [(5, 400), (10, 400), (20, 300), (30, 200), (65, 250), (200, 300)]
)
def test_a_tokens_cost_lies_between_the_lengths_measured(tokens: float, expected: float) -> None:
    """Straight between two of them, and beyond the ends theirs."""
    assert token_cpu_us(COSTS, tokens) == pytest.approx(expected)


def test_more_requests_need_proportionally_more() -> None:
    """A hundred times the rate is a hundred times the load, whatever is rounded up."""
    few = {need.part: need.load for need in size(COSTS, Plan(1_000))}
    many = {need.part: need.load for need in size(COSTS, Plan(100_000))}

    assert many == {part: pytest.approx(100 * load) for part, load in few.items()}


def test_headroom_and_spares_are_added() -> None:
    """Half free doubles what is needed, and spares come on top."""
    plan = replace(ALONE, requests_per_s=100_000, tokens_a_text=30)

    # 100,000 times 340 µs are 34 cores, 9 façades of 4; 3 million tokens are 300 Tritons of 10,000.
    assert _count(plan) == {"façades": 9, "Tritons": 300}
    assert _count(replace(plan, headroom=0.5, spares=2)) == {"façades": 17 + 2, "Tritons": 600 + 2}


def test_known_texts_need_no_triton_but_for_one() -> None:
    """Something has to answer what is new, however rare."""
    assert _count(replace(ALONE, requests_per_s=1e6, hit_rate=1))["Tritons"] == 1


def test_a_gpu_is_as_fast_as_the_caller_says() -> None:
    """A figure that is given takes the place of the CPU's."""
    plan = replace(ALONE, requests_per_s=100_000, tokens_a_text=30, triton_tokens_per_s=1e6)

    assert _count(plan)["Tritons"] == 3


@pytest.mark.parametrize(
    ("changes", "shards", "scarce"),
    [
        ({}, 3, "CPU decides"),
        ({"shard_bytes_per_s": 1e8}, 3, "network decides"),
        ({"kept_answers": 4 * 2**20}, 3, "CPU decides"),
        ({"kept_answers": 80 * 2**20}, 20, "memory decides"),
    ],
)
def test_the_scarcest_of_a_shard_decides(changes: dict[str, Any], shards: int, scarce: str) -> None:
    """Its core, its network or its memory; memory is a bound that is set and needs no headroom."""
    plan = replace(ALONE, requests_per_s=100_000, uses_redis=True, **changes)
    redis = size(COSTS, plan)[-1]

    assert redis.part == "Redis shards"
    assert (redis.count, redis.because.endswith(scarce)) == (shards, True)


def _results() -> dict[str, Any]:
    """A run whose figures follow the model exactly."""

    def suite(name: str, points: dict[float, dict[str, float]]) -> dict[str, Any]:
        return {"name": name, "points": [{"at": at, "rounds": [found] * 3} for at, found in points.items()]}

    def mixed(percent: float, *, redis: bool) -> dict[str, float]:
        plan = Plan(1, hit_rate=percent / 100, uses_redis=redis)
        new = 1 - percent / 100
        found = {
            "facade_cpu_us_a_request": facade_cpu_us(COSTS, plan),
            "triton_cpu_us_a_text": new * 29 * token_cpu_us(COSTS, 29),
            "generator_cpu_us_a_text": 50.0,
            "requests_per_s": 100.0,
        }
        if redis:
            found["redis_cpu_us_a_request"] = 20 + 5 * new
            found["redis_total_net_input_bytes_a_request"] = 400 + 1_500 * new
            found["redis_total_net_output_bytes_a_request"] = 600 + 500 * new
        return found

    return {
        "environment": {"cores": 2},
        "suites": [
            suite("mix", {at: mixed(at, redis=False) for at in (0, 60, 100)}),
            suite("mix-redis", {at: mixed(at, redis=True) for at in (0, 60, 100)}),
            suite(
                "texts",
                {
                    texts: {
                        "facade_cpu_us_a_request": 300 + 40 * texts,
                        "known_facade_cpu_us_a_request": 200 + 10 * texts,
                    }
                    for texts in (1, 64, 2048)
                },
            ),
            suite("length", {at: {"triton_cpu_us_a_token": us} for at, us in COSTS.triton_cpu_us_a_token}),
            suite("redis", {1_000: {"bytes_an_entry": 3_000}, 300_000: {"bytes_an_entry": 2_048}}),
        ],
    }


def test_costs_are_read_back_out_of_a_run() -> None:
    """A run that follows the model gives the model's costs, and the check finds no error in what it predicts."""
    costs = fit(_results())

    assert costs.triton_cpu_us_a_token == COSTS.triton_cpu_us_a_token
    for name, value in vars(COSTS).items():
        if isinstance(value, int | float):
            assert getattr(costs, name) == pytest.approx(value), name
    checks = [one for one in check(costs, _results()) if not one.what.startswith("requests/s")]
    assert {round(one.error, 6) for one in checks} == {0}
    assert {one.is_fitted for one in checks} == {True, False}


def test_the_measured_costs_are_whole() -> None:
    """No cost is left out of the table, and lengths ascend."""
    assert all(value > 0 for value in vars(MEASURED).values() if isinstance(value, float))
    lengths = [length for length, _ in MEASURED.triton_cpu_us_a_token]
    assert lengths == sorted(lengths)
    assert len(lengths) > 1


def test_the_command_line_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """A rate in, numbers of parts out; a day is spread over its seconds and multiplied by its peak."""
    assert main(["--requests-per-day", "8640000", "--peak-factor", "2", "--hit-rate", "0.6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert found["plan"]["requests_per_s"] == 200
    assert [need["part"] for need in found["needs"]] == ["façades", "Tritons", "Redis shards"]
    assert main(["--requests-per-s", "35", "--no-redis"]) == 0
    assert "no GPU was measured" in capsys.readouterr().out


def test_costs_of_a_run_are_used_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Costs come from the file, and every prediction stands beside its measurement."""
    file = tmp_path / "results.json"
    file.write_text(json.dumps(_results()), encoding="utf-8")

    assert main(["--requests-per-s", "35", "--costs", str(file), "--check"]) == 0

    said = capsys.readouterr().out
    assert "60 % known, mix: predicted" in said
    assert "(fitted)" in said


def test_a_file_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, with what is missing."""
    file = tmp_path / "results.json"
    file.write_text('{"environment": {"cores": 2}, "suites": []}', encoding="utf-8")

    assert main(["--requests-per-s", "35", "--costs", str(file)]) == 2
    assert "no suite 'mix'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--requests-per-s", "0"], "--requests-per-s"),
        (["--requests-per-s", "nan"], "--requests-per-s"),
        (["--requests-per-s", "1", "--hit-rate", "60"], "--hit-rate"),
        (["--requests-per-s", "1", "--headroom", "1"], "--headroom"),
        (["--requests-per-s", "1", "--kept-answers", "-1"], "--kept-answers"),
        (["--requests-per-s", "1", "--workers", "0"], "--workers"),
        (["--requests-per-s", "1", "--spares", "-1"], "--spares"),
        (["--requests-per-s", "1", "--check"], "--costs"),
        ([], "--requests-per-day"),
    ],
)
def test_nonsense_is_refused(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The option is named, and the exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert named in capsys.readouterr().err
