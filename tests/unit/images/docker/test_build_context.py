from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from banana_delivery.errors import ImageError
from banana_delivery.images.docker.build_context import label_instruction, release_context
from banana_delivery.images.dockerfile import release_stage, runtime_stages
from tests.contract.image_store_contract import Sources

DOCKERFILE = """ARG BASE=x
FROM ${BASE} AS packages
RUN slow
FROM ${BASE} AS runtime
COPY --from=packages / /
FROM ${RUNTIME} AS release
COPY code/ /
"""


def test_a_release_is_built_without_the_stages_before_it() -> None:
    assert release_stage(DOCKERFILE) == "ARG BASE=x\nFROM ${RUNTIME} AS release\nCOPY code/ /\n"
    assert "release" not in runtime_stages(DOCKERFILE)


def test_a_dockerfile_without_a_release_stage_is_refused() -> None:
    with pytest.raises(ImageError, match="no stage named release"):
        release_stage("FROM x AS runtime\n")


def test_the_context_is_laid_out_like_the_image_one_directory_a_layer(tmp_path: Path) -> None:
    with release_context(DOCKERFILE, Sources(tmp_path).context(), {}) as file, tarfile.open(fileobj=file) as tar:
        files = [member.name for member in tar if member.isreg()]

    assert files == [
        "Dockerfile",
        "code/app/requirements.txt",
        "code/app/serving/__init__.py",
        "model/model/model.onnx",
        "version/model/version.json",
    ]


def test_a_label_cannot_break_out_of_its_instruction() -> None:
    assert label_instruction({"a": 'x" RUN $HOME\\\nUSER root'}) == 'LABEL "a"="x\\" RUN \\$HOME\\\\ USER root"'
