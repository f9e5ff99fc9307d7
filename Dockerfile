# docker build -t fastconcept .
# docker build -t fastconcept:gpu --build-arg DEVICE=gpu .
# docker run --rm -v "$PWD:/work" fastconcept explain cat.jpg -c feline.n.01 -o seen.png
# docker run --rm --gpus all -v "$PWD:/work" fastconcept:gpu explain cat.jpg -c feline.n.01 -o seen.png --device cuda:0
ARG DEVICE=cpu

# Both builders have Python 3.12, so that a wheel of either runs in the image below; its glibc is newer than theirs.
FROM python:3.12-slim-bookworm AS cpu-builder
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
ENV FASTCONCEPT_CUDA=0

FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS gpu-builder
RUN apt-get update && apt-get install -y --no-install-recommends python3-dev python3-pip && rm -rf /var/lib/apt/lists/*
ENV FASTCONCEPT_CUDA=1

FROM ${DEVICE}-builder AS builder
COPY . /source
RUN python3 -m pip wheel --no-deps --wheel-dir /wheels /source

# CUDA's libraries come with the packages of the extra; the driver comes with --gpus (NVIDIA Container Toolkit).
FROM python:3.12-slim-trixie
ARG DEVICE
RUN --mount=type=bind,from=builder,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(ls /wheels/*.whl)[${DEVICE}]"
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home user && mkdir /work && chown user /work
USER user
WORKDIR /work
ENTRYPOINT ["fastconcept"]
CMD ["--help"]
