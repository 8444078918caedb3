from __future__ import annotations

import pytest

from banana_delivery.bundle import DOCKERFILE
from banana_delivery.errors import ImageError
from banana_delivery.files import text_sha256
from banana_delivery.images.assembled.image import STAGE_SHA256
from banana_delivery.images.dockerfile import USUAL_PATH, packages_stage, release_start, runtime_start

COPIES = "COPY code/ /\nCOPY model/ /\nCOPY version/ /\n"


def stage(said: str, copies: str = COPIES) -> str:
    before = "FROM ${BASE_IMAGE} AS runtime\nRUN anything\nFROM ${RUNTIME_IMAGE} AS release\n"
    return f"{before}# A comment.\n{said}\n{copies}"


def test_the_real_dockerfile_says_how_a_release_is_run_as_an_engine_notes_it() -> None:
    start = release_start(DOCKERFILE.read_text())

    assert start["Cmd"] == ["python", "-m", "serving"]
    assert start["ExposedPorts"] == {"8000/tcp": {}}
    check = start["Healthcheck"]
    assert check["Test"][:3] == ["CMD", "python", "-c"]
    assert '{os.environ["PORT"]}/health' in check["Test"][3]
    # Nanoseconds.
    assert (check["Interval"], check["Timeout"], check["StartPeriod"]) == (10 * 10**9, 3 * 10**9, 60 * 10**9)
    assert check["Retries"] == 3


def test_an_instruction_may_go_over_several_lines_with_comments_between() -> None:
    said = 'HEALTHCHECK --interval=500ms \\\n# why\n  --timeout=1m \\\n  CMD ["true"]'

    assert release_start(stage(said)) == {
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5 * 10**8, "Timeout": 60 * 10**9}
    }


@pytest.mark.parametrize(
    "said",
    [
        "RUN apt-get install something",
        "CMD python -m serving",
        'CMD ["python", 5]',
        "HEALTHCHECK NONE",
        'HEALTHCHECK --start-interval=5s CMD ["true"]',
        "HEALTHCHECK CMD true",
        "EXPOSE ${PORT}",
        "EXPOSE 53/udp",
        "USER root",
        "COPY more/ /",
    ],
)
def test_what_only_an_engine_can_carry_out_is_refused_with_what_to_do(said: str) -> None:
    with pytest.raises(ImageError, match=r"cannot be carried out without an engine; set\s+BANANA_BUILDER=docker"):
        release_start(stage(said))


@pytest.mark.parametrize(
    "copies", ["", "COPY model/ /\nCOPY code/ /\nCOPY version/ /\n", COPIES.replace(" /\n", " /x\n")]
)
def test_layers_that_would_be_others_than_an_engine_makes_are_refused(copies: str) -> None:
    with pytest.raises(ImageError, match="without an engine"):
        release_start(stage("EXPOSE 8000", copies))


RUNTIME = (
    "FROM ${{BASE_IMAGE}} AS runtime\nCOPY --from=packages /opt/venv /opt/venv\n{said}\n"
    "FROM ${{RUNTIME_IMAGE}} AS release\n"
)


def test_the_real_dockerfile_says_how_a_runtime_is_run_on_a_base_without_a_path() -> None:
    start = runtime_start(DOCKERFILE.read_text(), {"Env": ["PIP_CERT=/a"], "Cmd": ["python3"], "Labels": {"a": "b"}})

    assert start["Env"][:2] == ["PIP_CERT=/a", f"PATH=/opt/venv/bin:{USUAL_PATH}"]
    assert (start["User"], start["WorkingDir"], start["Cmd"]) == ("10001:10001", "/app", ["python3"])
    assert start["Labels"] == {"a": "b", "org.opencontainers.image.licenses": "AGPL-3.0-or-later"}


def test_variables_of_one_instruction_see_what_was_set_before_it_and_not_each_other() -> None:
    said = RUNTIME.format(said='ENV A=1\nENV A=2 B=$A C="x y"')

    assert runtime_start(said, {})["Env"] == ["A=2", "B=1", "C=x y"]


@pytest.mark.parametrize(
    "said",
    ["RUN true", "ENV A=$UNKNOWN", "ENV A", 'ENV A="', "USER $ME", "WORKDIR app", "COPY a b", "VOLUME /x"],
)
def test_a_runtime_that_only_an_engine_can_make_is_refused(said: str) -> None:
    with pytest.raises(ImageError, match="stage runtime says"):
        runtime_start(RUNTIME.format(said=said), {})


def test_the_stage_of_the_packages_is_the_one_that_is_carried_out_without_an_engine() -> None:
    assert text_sha256(packages_stage(DOCKERFILE.read_text())) == STAGE_SHA256


def test_a_stage_on_something_else_is_another_image_and_refused() -> None:
    """An engine would build on it, and both images would have one tag."""
    elsewhere = RUNTIME.format(said="USER 1").replace("${BASE_IMAGE}", "nvidia/cuda:12-base")
    with pytest.raises(ImageError, match="nvidia/cuda"):
        runtime_start(elsewhere, {})
    with pytest.raises(ImageError, match="FROM busybox AS release"):
        release_start(stage("CMD []").replace("${RUNTIME_IMAGE}", "busybox"))
