# The daemon in a container. Two variants, one for CPUs and one for NVIDIA GPUs:
#
#   docker build --target cpu -t streamseg .
#   docker build --target cuda -t streamseg:cuda .
#
# On x86-64 the package index has torch with CUDA only, 4 GiB that a CPU does not need. PyTorch has an index of wheels for
# CPUs; its address is on pytorch.org under "Get Started":
#
#   docker build --target cpu --build-arg TORCH_INDEX=ADDRESS -t streamseg .
#
# compose.yaml shows how to run it.

ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_INDEX=
# sam2 is built from source; without this it would look for nvcc and compile an extension that is never used.
ENV SAM2_BUILD_CUDA=0 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/streamseg
# sam2 needs torch to be built; an isolated build would fetch the package index's, with CUDA, whatever is installed.
RUN if [ -n "$TORCH_INDEX" ]; then /opt/streamseg/bin/pip install --index-url "$TORCH_INDEX" torch torchvision \
    && /opt/streamseg/bin/pip install --upgrade hatchling setuptools; fi
COPY pyproject.toml README.md LICENSE ./
COPY streamseg streamseg
RUN /opt/streamseg/bin/pip install ${TORCH_INDEX:+--no-build-isolation} .

FROM python:${PYTHON}-slim-bookworm AS cpu
RUN useradd --system --uid 10001 --user-group --no-create-home streamseg \
    && install -d -o streamseg -g streamseg -m 0750 /var/lib/streamseg /var/cache/streamseg /run/streamseg
COPY --from=build /opt/streamseg /opt/streamseg
COPY configs/container.yaml /etc/streamseg/streamseg.yaml
# The same places as those of the systemd service.
ENV PATH=/opt/streamseg/bin:$PATH \
    STREAMSEG_MODELS=/var/lib/streamseg/models \
    HF_HOME=/var/lib/streamseg/huggingface \
    STATE_DIRECTORY=/var/lib/streamseg \
    XDG_CACHE_HOME=/var/cache \
    XDG_RUNTIME_DIR=/run/streamseg
# Models and saved state; what is converted or compiled at the first start.
VOLUME /var/lib/streamseg /var/cache/streamseg
# Masks; the page, metrics and the HTTP interface.
EXPOSE 5555 8080
USER streamseg
# Ready as `GET /readyz` says: publisher and worker work. A camera that is away is no reason to restart a container.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=5)"]
ENTRYPOINT ["streamseg"]
CMD ["run", "/etc/streamseg/streamseg.yaml"]

FROM cpu AS cuda
# torch's compiler calls a C++ compiler. The CUDA libraries come with torch, the driver from NVIDIA's container runtime.
USER root
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER streamseg
