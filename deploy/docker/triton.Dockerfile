# syntax=docker/dockerfile:1.7
# NVIDIA's Triton images with what the doors import (tokenizers and so on): their Python stubs use the image's Python.
# One stage a kind of hardware; `docker build --target`. Which image fits which GPU: docs/targets.md. Not run here.

# A100, T4, L4, H100, and CPUs. Python 3.12.
FROM nvcr.io/nvidia/tritonserver:26.07-py3 AS current
COPY deploy/docker/triton-python3.12.txt /tmp/requirements.txt
# Without dependencies: the list is complete, and nothing of NVIDIA's is replaced.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip install --break-system-packages --no-deps -r /tmp/requirements.txt \
    && install -d -o 1000 -g 1000 /var/cache/triton-tensorrt
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# NVIDIA's own user in it, triton-server.
USER 1000:1000
EXPOSE 8000 8001 8002
# Ready means that every model is loaded and warm.
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]

# V100: the last image that runs on compute capability 7.0. Python 3.10.
FROM nvcr.io/nvidia/tritonserver:24.10-py3 AS v100
COPY deploy/docker/triton-python3.10.txt /tmp/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip install --no-deps -r /tmp/requirements.txt \
    && install -d -o 1000 -g 1000 /var/cache/triton-tensorrt
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]

# V100 with TensorRT plans: the last image whose TensorRT (10.4) knows it. Python 3.10.
FROM nvcr.io/nvidia/tritonserver:24.09-py3 AS v100-tensorrt
COPY deploy/docker/triton-python3.10.txt /tmp/requirements.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip install --no-deps -r /tmp/requirements.txt \
    && install -d -o 1000 -g 1000 /var/cache/triton-tensorrt
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=600s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]

# Triton's vLLM backend. It brings tokenizers and NumPy of its own, which vLLM needs as they are.
FROM nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3 AS vllm
# vLLM compiles kernels, and keeps them below its HOME.
RUN install -d -o 1000 -g 1000 /var/cache/vllm
ENV PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/cache/vllm \
    HF_HUB_OFFLINE=1
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=1200s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
