# tweenlet on a CPU: a wheel is built in one stage and installed in another, which has no compiler.
# docker build -f docker/cpu.Dockerfile -t tweenlet .
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
RUN --mount=from=build,source=/dist,target=/dist --mount=from=build,source=/source/constraints.txt,target=/constraints.txt \
    pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c /constraints.txt "$(echo /dist/*.whl)[torch,images]" \
    && useradd --create-home --uid 1000 tweenlet
USER 1000
WORKDIR /work
ENTRYPOINT ["tweenlet"]
CMD ["--help"]
