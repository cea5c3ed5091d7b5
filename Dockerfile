# xpnet on an NVIDIA GPU. The host needs only its driver and the NVIDIA container toolkit: CUDA comes as Python packages.
#
#   docker build -t xpnet .
#   docker run --gpus all xpnet --device cuda
#
# To keep the runs, and the kernels CuPy has compiled:
#
#   docker run --gpus all -v xpnet-runs:/home/xpnet/runs -v xpnet-cupy:/home/xpnet/.cupy xpnet --device cuda

FROM python:3.12.13-slim@sha256:229a2c5bfa27522db7815ea81f9bed70af17ccb9de9fc7ad142b1877b5830d36

# The dependencies alone, so that an edit of the source does not download CUDA again.
WORKDIR /opt/xpnet
COPY pyproject.toml ./
RUN python -c 'import tomllib; \
project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*project["dependencies"], *project["optional-dependencies"]["cuda13"], sep="\n")' > requirements.txt \
    && pip install --no-cache-dir --requirement requirements.txt

COPY README.md LICENSE ./
COPY xpnet/ xpnet/
RUN pip install --no-cache-dir .
COPY scripts/ scripts/

# Docker gives a new named volume the owner of the folder it covers: both must exist and belong to the user.
RUN useradd --create-home --uid 1000 xpnet \
    && install --directory --owner=xpnet --group=xpnet /home/xpnet/runs /home/xpnet/.cupy
USER 1000
WORKDIR /home/xpnet
ENV CUPY_CACHE_DIR=/home/xpnet/.cupy MPLCONFIGDIR=/tmp/matplotlib PYTHONUNBUFFERED=1
VOLUME ["/home/xpnet/runs", "/home/xpnet/.cupy"]

ENTRYPOINT ["python", "/opt/xpnet/scripts/train.py"]
