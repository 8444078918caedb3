"""Which stages and aliases a mark changes, and that a process may die in the middle of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from banana_delivery.model_registry.transitions import DropAlias, SetAlias, SetStage, Step, steps
from banana_delivery.policy.model import Outcome
from banana_delivery.policy.outcomes import RegistryMark

VERSIONS = ["1", "2", "3"]
stages_of = st.fixed_dictionaries(
    {version: st.sampled_from(["None", "Staging", "Production", "Archived"]) for version in VERSIONS}
)
aliases_of = st.dictionaries(
    st.sampled_from(["staging", "Staging", "production", "champion"]), st.sampled_from(VERSIONS)
)
marks = st.builds(
    RegistryMark,
    outcome=st.just(Outcome.REJECTED),
    reason=st.just("because"),
    clear_staging=st.booleans(),
    serving=st.sampled_from([*VERSIONS, None]),
)


def apply(taken: list[Step], stages: dict[str, str], aliases: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    stages, aliases = dict(stages), dict(aliases)
    for step in taken:
        match step:
            case SetAlias(alias, version):
                aliases[alias] = version
            case DropAlias(alias, _):
                del aliases[alias]
            case SetStage(version, stage):
                stages[version] = stage
    return stages, aliases


@given(stages_of, aliases_of, st.sampled_from(VERSIONS), marks, st.integers(0, 10))
def test_broken_off_anywhere_and_repeated_it_ends_the_same(
    stages: dict[str, str], aliases: dict[str, str], version: str, mark: RegistryMark, crash_after: int
) -> None:
    planned = steps(stages, aliases, version, mark)
    whole = apply(planned, stages, aliases)
    broken = apply(planned[:crash_after], stages, aliases)
    assert apply(steps(*broken, version, mark), *broken) == whole
    assert steps(*whole, version, mark) == []


@given(stages_of, aliases_of, st.sampled_from(VERSIONS), marks)
def test_a_staging_is_only_taken_from_the_version_it_is_about(
    stages: dict[str, str], aliases: dict[str, str], version: str, mark: RegistryMark
) -> None:
    after, aliases_after = apply(steps(stages, aliases, version, mark), stages, aliases)
    for other in VERSIONS:
        if other != version or not mark.clear_staging:
            assert (after[other] == "Staging") == (stages[other] == "Staging")
            for alias in ("staging", "Staging"):
                assert (aliases_after.get(alias) == other) == (aliases.get(alias) == other)


@given(stages_of, aliases_of, st.sampled_from(VERSIONS), marks)
def test_production_is_what_serves_and_nothing_else(
    stages: dict[str, str], aliases: dict[str, str], version: str, mark: RegistryMark
) -> None:
    after, aliases_after = apply(steps(stages, aliases, version, mark), stages, aliases)
    in_production = {one for one, stage in after.items() if stage == "Production"}
    if mark.serving is None:
        assert in_production == {one for one, stage in stages.items() if stage == "Production"}
    else:
        assert aliases_after["production"] == mark.serving
        assert in_production <= {mark.serving}
        assert in_production or stages[mark.serving] == "Staging"


@given(stages_of, aliases_of, st.sampled_from([*VERSIONS, "9"]), marks)
def test_nothing_is_in_production_if_what_serves_was_deleted(
    stages: dict[str, str], aliases: dict[str, str], version: str, mark: RegistryMark
) -> None:
    planned = steps(stages, aliases, version, mark.replace(serving="9"))
    after, aliases_after = apply(planned, stages, aliases)
    assert "Production" not in after.values()
    assert "production" not in aliases_after
    assert all(step.version in stages for step in planned)
