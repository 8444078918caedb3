# Two images. `runtime` holds the packages of the serving lock: it is built once per lock and base, and then reused by
# its digest. `release` puts the serving code, the model and version.json on it, each as one layer, what changes least
# first; a new model therefore costs what the model weighs. The pipeline builds both (see docs/images.md).
#
# The release's files come from a context laid out like the image, because only copying onto / keeps the dates of the
# directories: that makes equal inputs equal layers.

# By digest, for example python:3.11-slim@sha256:...; the pipeline looks it up by the tag that BANANA_BASE_IMAGE names.
ARG BASE_IMAGE
ARG RUNTIME_IMAGE=runtime

FROM ${BASE_IMAGE} AS packages
ARG BASE_IMAGE
SHELL ["/bin/sh", "-eu", "-c"]
# serving-gpu.txt for nodes with an NVIDIA GPU; the pipeline's own builds send either by this name.
ARG LOCK=serving.txt
COPY requirements/${LOCK} /tmp/requirements.txt
# Only wheels, and only what the lock names: nothing is compiled or resolved here. What serving never touches goes: test
# suites (some ship pickles, of which none may be inside) and C headers.
RUN case "$BASE_IMAGE" in *sha256:*) ;; *) echo "BASE_IMAGE=$BASE_IMAGE is a tag, which may move: name it by digest." >&2; exit 2 ;; esac \
    && python3 -m venv --without-pip /opt/venv \
    && python3 -m pip --python /opt/venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes \
       --only-binary=:all: --requirement /tmp/requirements.txt \
    && find /opt/venv -depth -type d \( -name tests -o -name include \) -path '*/site-packages/*' -exec rm -rf {} + \
    && pickles=$(find /opt/venv -type f \( -name '*.pkl' -o -name '*.pickle' -o -name '*.pt' \)) \
    && if [ -n "$pickles" ]; then echo "pickles in the packages: $pickles" >&2; exit 1; fi \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM ${BASE_IMAGE} AS runtime
COPY --from=packages /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    MODEL_PATH=/model/model.onnx
WORKDIR /app
LABEL org.opencontainers.image.licenses=AGPL-3.0-or-later
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001

FROM ${RUNTIME_IMAGE} AS release
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=2)"]
CMD ["python", "-m", "serving"]
COPY code/ /
COPY model/ /
COPY version/ /
