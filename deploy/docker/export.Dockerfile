# syntax=docker/dockerfile:1.7
# The export CLI: converts models and proves them equal to the original. Large, because PyTorch is.
FROM python:3.11.13-slim-bookworm AS build

# PyTorch's index of CPU builds: a tenth of what the default one brings.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/export \
    && /opt/export/bin/python -m pip install setuptools==80.9.0 setuptools-scm==10.3.4 vcs-versioning==2.6.0

COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir facade export \
    && touch facade/__init__.py export/__init__.py \
    && /opt/export/bin/python -m pip install --no-build-isolation --extra-index-url "$TORCH_INDEX" \
        -c constraints.txt '.[export]'

# There is no git in a build, so it is told the version: --build-arg VERSION=1.2.3.
ARG VERSION=0.1.dev0
ENV SETUPTOOLS_SCM_PRETEND_VERSION_FOR_TRITON_FACADE=$VERSION

# `tune` and `report` need what the façade is installed with, and commands look alike by `facade.terminal`: both are here.
COPY facade facade
COPY export export
RUN rm -rf build ./*.egg-info \
    && /opt/export/bin/python -m pip install --no-build-isolation --no-deps --force-reinstall .

FROM python:3.11.13-slim-bookworm AS cpu

ENV PATH=/opt/export/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/var/cache/huggingface \
    HOME=/tmp
COPY --from=build /opt/export /opt/export
# Downloads are kept in a volume, which takes its mode from here; the user is whoever owns the model repository.
RUN install -d -m 1777 /var/cache/huggingface
USER 1000:1000
# A command that ends: whether it worked is its exit code.
HEALTHCHECK NONE
ENTRYPOINT ["triton-export"]
CMD ["--help"]

# With TensorRT's Python API, for --engine tensorrt and build-plan on the GPU that will serve the plan.
# V100: its last TensorRT, 10.4, which is also what Triton 24.09 reads. Not run here.
FROM cpu AS v100-tensorrt
USER 0
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/export/bin/python -m pip install tensorrt-cu12==10.4.0
USER 1000:1000

# A100 and newer: the image that has the TensorRT of Triton 26.07. Not run here.
FROM nvcr.io/nvidia/tensorrt:26.07-py3 AS a100-tensorrt
ARG VERSION=0.1.dev0
WORKDIR /src
ENV PATH=/opt/export/bin:$PATH \
    SETUPTOOLS_SCM_PRETEND_VERSION_FOR_TRITON_FACADE=$VERSION \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HOME=/var/cache/huggingface \
    HOME=/tmp
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY facade facade
COPY export export
# The image's own packages stay visible: TensorRT is one of them.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv --system-site-packages /opt/export \
    && /opt/export/bin/python -m pip install -c constraints.txt '.[export]' \
    && install -d -m 1777 /var/cache/huggingface
USER 1000:1000
HEALTHCHECK NONE
ENTRYPOINT ["triton-export"]
CMD ["--help"]
