#!/usr/bin/env bash
# The nccl path of daskhpc.ddp.train on a machine with an NVIDIA GPU: from the root of the repository, in under three minutes,
#
#     bash tests/benchmarks/ddp_gpu.sh
#
# The machine's python3 has to have torch with CUDA and NumPy, pandas, scikit-learn, joblib. What else is missing is
# installed from the folder .whl, if it is there; on a machine with a network it is filled, for Python 3.12, by
#
#     python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#         --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
#         --platform manylinux1_x86_64 -d .whl dask==2026.8.0 distributed==2026.8.0 tornado==6.6.1 zict==3.0.0 \
#         tblib==3.2.2 locket==1.0.0 partd==1.4.2 psutil==7.2.2 importlib-metadata==10.2.0 lazy-importer==0.1.0
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONUNBUFFERED=1
SITE=$(mktemp -d)
trap 'rm -rf "${SITE}"' EXIT
if [ -d .whl ]; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "${SITE}" .whl/*.whl
fi
export PYTHONPATH="${PWD}:${SITE}${PYTHONPATH:+:${PYTHONPATH}}"
nvidia-smi --list-gpus || true
python3 -c 'import sys, torch; print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, CUDA {torch.version.cuda}, nccl",
    ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else "not available")'
timeout 170 python3 tests/benchmarks/ddp_gpu.py
