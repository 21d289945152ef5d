# syntax=docker/dockerfile:1.7
# The façade alone: no compiler, no pip, no torch. Built from the checkout's top folder.
# Tags are pinned to the patch; add the digest that your registry shows where builds must repeat to the bit.
FROM python:3.11.13-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/facade \
    && /opt/facade/bin/python -m pip install setuptools==80.9.0 setuptools-scm==10.3.4 vcs-versioning==2.6.0

# What it needs, in a layer of its own: a change of the code doesn't install it again. The packages are empty so far.
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    mkdir facade export \
    && touch facade/__init__.py export/__init__.py \
    && /opt/facade/bin/python -m pip install --no-build-isolation -c constraints.txt '.[otel]'

# There is no git in a build, so it is told the version: --build-arg VERSION=1.2.3.
ARG VERSION=0.1.dev0
ENV SETUPTOOLS_SCM_PRETEND_VERSION_FOR_TRITON_FACADE=$VERSION

COPY facade facade
# The export CLI lives in an image of its own; pip goes, because nothing is installed any more.
RUN rm -rf build ./*.egg-info \
    && /opt/facade/bin/python -m pip install --no-build-isolation --no-deps --force-reinstall . \
    && rm -rf /opt/facade/lib/python3.11/site-packages/export /opt/facade/bin/triton-export \
    && /opt/facade/bin/python -m pip uninstall --yes setuptools-scm vcs-versioning setuptools pip

FROM python:3.11.13-slim-bookworm

ENV PATH=/opt/facade/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    FACADE_HOST=0.0.0.0 \
    FACADE_METRICS_HOST=0.0.0.0
COPY --from=build /opt/facade /opt/facade
# A number, so that Kubernetes can see that it isn't root.
USER 10001:10001
EXPOSE 8080 9464
# Ready, and not merely alive: Triton answers and serves models.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/ready', timeout=4)"]
ENTRYPOINT ["triton-facade"]
CMD ["serve"]
