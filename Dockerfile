# docker build --tag mmtl .
# docker run --rm --shm-size 2g --volume "$PWD/work_dirs:/workspace/work_dirs" mmtl            # the demo, on the CPU
# docker run --rm --shm-size 8g --gpus all --volume "$PWD:/workspace" mmtl mim train mmpretrain CONFIG
FROM python:3.11-slim

# opencv-python links to OpenGL, GLib and xcb.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*

COPY . /source
RUN pip install --no-cache-dir --constraint /source/constraints.txt '/source[timm,tensorboard,onnx]' && rm -r /source

WORKDIR /workspace
CMD ["mim", "run", "mmtl", "demo"]
