# A machine for the book and the package on CPU torch, for Binder and for .devcontainer: no GPU libraries, no data.
#
# docker build --tag padim-nb .
# docker run --rm --publish 8888:8888 padim-nb
FROM python:3.12-slim

# Binder passes these two, and runs the machine as this user
ARG NB_USER=reader
ARG NB_UID=1000

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid ${NB_UID} ${NB_USER} \
    && pip install --no-cache-dir uv

WORKDIR /home/${NB_USER}/padim-nb
COPY . .
# the CPU builds of torch take a tenth of the disk of the ordinary ones; `make` takes this environment as it is
RUN uv venv --quiet .venv \
    && uv pip install --no-cache --torch-backend cpu --editable ".[run,onnx,lab]" jupyterhub \
    && touch .venv/.made-from-lock \
    && chown --recursive ${NB_UID} .

USER ${NB_USER}
# one thread and the small twin keep a chapter below Binder's 2 GB of memory
ENV OMP_NUM_THREADS=1 VIRTUAL_ENV=/home/${NB_USER}/padim-nb/.venv PATH=/home/${NB_USER}/padim-nb/.venv/bin:${PATH}
CMD ["jupyter", "lab", "--ip", "0.0.0.0", "--no-browser", "notebooks"]
