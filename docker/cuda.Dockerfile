# tweenlet on NVIDIA GPUs: PyTorch's CUDA build brings CUDA and Triton itself; the host needs the driver and its container toolkit.
# docker build -f docker/cuda.Dockerfile -t tweenlet:cuda .      docker run --rm --gpus all -v "$PWD:/work" tweenlet:cuda ...
FROM python:3.12-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /dist .

FROM python:3.12-slim-bookworm
# PyAV's wheel contains FFmpeg with x264 and x265, which are under the GPL: so is an image that is passed on.
LABEL org.opencontainers.image.licenses="MIT AND GPL-2.0-or-later" \
      org.opencontainers.image.title="tweenlet"
# Triton compiles its launchers with gcc when a kernel is first used
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN --mount=from=build,source=/dist,target=/dist --mount=from=build,source=/source/constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir -c /constraints.txt "$(echo /dist/*.whl)[torch,images]" \
    && useradd --create-home --uid 1000 tweenlet
USER 1000
WORKDIR /work
ENTRYPOINT ["tweenlet"]
CMD ["--help"]
