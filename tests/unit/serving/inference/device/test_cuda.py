from typing import Any

import onnxruntime as ort  # type: ignore[import-untyped]
import pytest

from serving.inference.device import cuda
from tests.unit.serving.detectors import detector


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver with a GPU, and no library of CUDA's but one."""
    monkeypatch.setattr(cuda, "trouble", lambda: "")
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load libcublas.so.13: not there"))  # noqa: T201


def test_the_build_of_the_locks_for_tests_has_no_cuda() -> None:
    assert not cuda.is_built_in()


def test_without_a_gpu_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "trouble", lambda: "the NVIDIA driver sees no GPU")
    monkeypatch.delattr(ort, "InferenceSession")

    with pytest.raises(cuda.NoCudaError, match="the NVIDIA driver sees no GPU"):
        cuda.open_session(b"", ort.SessionOptions())


@pytest.mark.usefixtures("driver")
@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider':UserWarning")
def test_a_session_that_fell_back_without_a_word_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    """As ONNX Runtime really does: this very build, asked for CUDA, gives the CPU."""
    with pytest.raises(cuda.NoCudaError) as raised:
        cuda.open_session(detector(), ort.SessionOptions())

    assert str(raised.value) == (
        "ONNX Runtime left CUDA out without a word (Failed to load libcublas.so.13: not there)"
    )
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("driver")
def test_onnx_runtime_may_not_fall_back_by_itself_and_computes_in_f32(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Session:
        def __init__(self, onnx: bytes, options: ort.SessionOptions, **others: Any) -> None:
            asked.update(others)

        def get_providers(self) -> list[str]:
            return [cuda.CUDA, "CPUExecutionProvider"]

    monkeypatch.setattr(ort, "InferenceSession", Session)
    cuda.open_session(b"", ort.SessionOptions())

    [(provider, options)] = asked["providers"]
    assert (provider, options["use_tf32"], asked["enable_fallback"]) == (cuda.CUDA, "0", 0)
