from __future__ import annotations

import pytest

from banana_delivery.bundle import DOCKERFILE
from banana_delivery.errors import ImageError
from banana_delivery.images.dockerfile import release_start

COPIES = "COPY code/ /\nCOPY model/ /\nCOPY version/ /\n"


def stage(said: str, copies: str = COPIES) -> str:
    return f"FROM x AS runtime\nRUN anything\nFROM y AS release\n# A comment.\n{said}\n{copies}"


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
