#!/usr/bin/env bash
# Everything that is measured on one GPU, in at most 8 minutes: bash benchmarks/gpu.sh [CHECKOUT_OF_THE_AUTHORS_CODE]
# Prints tables and appends every row to $OUT/runner.jsonl. Benchmarks that do not fit into LIMIT seconds are skipped.
# A dry run on a CPU: DEVICE=cpu STEPS=6 BATCH=4 SIZE=64 LIMIT=3000.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=$PWD PYTHONWARNINGS=ignore
python=${PYTHON:-python} device=${DEVICE:-cuda} steps=${STEPS:-60} batch=${BATCH:-128} size=${SIZE:-512} out=${OUT:-work_dirs/gpu}
limit=${LIMIT:-470}
workers=$(($(nproc) > 2 ? $(nproc) - 1 : 0))
mkdir -p "$out"

run() { # name, then the arguments of a benchmark; a benchmark that fails or hangs does not stop the others
    local left=$((limit - SECONDS)) log=$out/errors.log
    echo "## $1" && shift
    ((left >= 1)) || { echo "skipped, the $limit seconds are over"; return; }
    timeout -k 5 "$((left < 150 ? left : 150))" "$python" "$@" 2>>"$log" || { echo "failed or out of time, see $log:"; tail -n 3 "$log"; }
}
runner() { run "$1" benchmarks/runner.py --device "$device" --steps "$steps" --json "$out/runner.jsonl" "${@:2}"; }
recipe() { echo "configs/lvvit/lvvit-$1_8xb128-tokenlabel-300e_in1k.py"; }

"$python" -c "import os, torch; print(torch.__version__, os.cpu_count(), 'cores', torch.cuda.is_available() and torch.cuda.get_device_name())"
runner "S, compiled, ready samples, released step" --batch "$batch" --workers "$((workers / 2))" --compile ${1:+--released "$1"}
runner "S, compiled, class labels only" --batch "$batch" --workers "$((workers / 2))" --compile --class-labels
runner "S, compiled, from JPEGs" --batch "$batch" --workers "$workers" --compile --jpeg
runner "S, eager, ready samples" --batch "$batch" --workers "$((workers / 2))"
run "Segmentation S, eager" benchmarks/segmentation.py --archs small --device "$device" --dtype bfloat16 --image-size "$size"
run "Segmentation S, compiled with CUDA graphs" benchmarks/segmentation.py --archs small --device "$device" --dtype bfloat16 --image-size "$size" \
    --compile reduce-overhead --rounds 10
run "Operations that wait for the device" -m pytest tests/models/test_no_host_sync.py -q --no-header
runner "M, compiled" "$(recipe medium)" --batch "$((batch / 2))" --workers "$((workers / 2))" --compile
runner "L, compiled" "$(recipe large)" --batch "$((batch / 2))" --workers "$((workers / 2))" --compile
