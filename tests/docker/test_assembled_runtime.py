"""A runtime image that no engine made, on the real base and with real wheels, run by the real engine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from banana_delivery.images.base import ImageStore
from banana_delivery.images.direct.store import DirectImages
from banana_delivery.images.docker.credentials import Credentials
from banana_delivery.images.docker.engine import Engine
from banana_delivery.images.docker.transfer import Transfer
from banana_delivery.waiting import Retries
from tests.contract.image_store_contract import Clock, ImageStoreContract, Sources, quiet
from tests.docker.conftest import DOCKERFILE, temporary_repository


@pytest.fixture(scope="module")
def runtimes(registry: str, engine: Engine) -> Iterator[str]:
    """The repository of runtime images."""
    yield from temporary_repository(registry, engine)


@pytest.fixture
def store(repository: str, runtimes: str, base_image: str, clock: Clock) -> Iterator[DirectImages]:
    store = DirectImages(
        repository, runtime_repository=runtimes, dockerfile=DOCKERFILE, base_image=base_image, clock=clock
    )
    with closing(store):
        yield store


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def small(small_lock: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lock") / "lock.txt"
    path.write_text(small_lock)
    return path


class TestReleasesOnAnAssembledRuntime(ImageStoreContract):
    """What holds on an engine's runtime image holds on this one."""

    @pytest.fixture
    def sources(self, tmp_path: Path, small_lock: str, store: DirectImages, small: Path) -> Sources:
        store.assemble_runtime(small, [], quiet)
        return Sources(tmp_path / "sources", small_lock, salt=uuid.uuid4().hex)

    @pytest.fixture
    def store(self, store: DirectImages) -> ImageStore:
        return store


def test_an_engine_runs_it_as_it_runs_its_own(store: DirectImages, small: Path, engine: Engine, runtimes: str) -> None:
    pinned = store.assemble_runtime(small, [], quiet)
    Transfer(engine, runtimes, Credentials(), Retries()).pull(pinned, quiet)
    code = "import idna, os, sys; print(sys.prefix, os.getcwd(), os.getuid(), idna.__name__, os.environ['MODEL_PATH'])"

    done = engine.run(pinned, ["python", "-c", code], {}, 60)

    assert (done.exit_code, done.output.split()) == (0, ["/opt/venv", "/app", "10001", "idna", "/model/model.onnx"])
    script = engine.run(pinned, ["sh", "-c", "test -x /opt/venv/bin/idna && head -n 1 /opt/venv/bin/idna"], {}, 60)
    assert script.output.strip() == "#!/opt/venv/bin/python"
