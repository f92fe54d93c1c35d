#!/bin/sh
# Every benchmark and test that needs a GPU, in parts of less than ten minutes. Run it again to resume: a finished part
# leaves OUT/NAME.done. Each part writes OUT/NAME.json (or .txt) and a section of OUT/RESULTS.md with hardware, versions,
# clocks and date, to be moved into bench/RESULTS.md.
#
#   bench/gpu_suite.sh OUT [PART ...]     without parts: all
#   FORK=PATH        absolute path of a checkout of segment-anything-2-real-time: adds its arms
#   PYTHON=PATH      default: python of the environment; one word, the path of an interpreter
#   PYTHONPATH=PATH  absolute path of a folder that holds the package transformers and its dependencies except torch and
#                    numpy, which would hide those of the environment (`pip install --no-deps --target PATH`): adds
#                    its arm
#   TRAIN="--coco FOLDER --renders FOLDER"     adds a part that continues the training of streamseg/models/nano.pt
#
# The most important parts come first: parity, then the headline figures, then the rest of the grid. The first start of
# each compiles for minutes. bench/tracker.py writes its results before the arms that compile longest, so a part that
# runs out of time has a table too.
#
# On a machine with torch but without a package registry: copy wheels of the other dependencies (pyproject.toml) for its
# Python there, with sam2 built with SAM2_BUILD_CUDA=0, install them without dependencies, and set PYTHON. Older
# versions of torch do less (docs/tracker.md has the table): before 2.12, a mask is used and the tests of ranges skip.
set -eu

out=$1
shift
python=${PYTHON:-python}
limit=590
mkdir -p "$out"
out=$(realpath "$out")  # before the cd below, since it may be relative
results=$out/RESULTS.md
cd "$(dirname "$0")/.."
# Compiled code is kept with the results, so that a part that ran out of time finds it again.
TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$out/inductor}
export TORCHINDUCTOR_CACHE_DIR PYTHONPATH=bench${PYTHONPATH:+:$PYTHONPATH}

part() { # NAME TITLE COMMAND...: once; its failure does not stop the others
    name=$1 title=$2
    shift 2
    case " $wanted " in "  " | *" $name "*) ;; *) return 0 ;; esac
    [ -e "$out/$name.done" ] && return 0
    echo "== $name: $title"
    began=$(date +%s)
    rm -f "$out/$name.md"
    status=0
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || status=$?
    {
        printf '\n## %s\n\n`%s`, exit status %s after %s s.\n' "$title" "$*" "$status" "$(($(date +%s) - began))"
        if [ -e "$out/$name.md" ]; then cat "$out/$name.md"; else
            printf '\n```\n%s\n```\n' "$(tail -n 12 "$out/$name.txt")"
            "$python" -c 'import json, hardware; print("\n" + json.dumps(hardware.machine()))'
        fi
    } >>"$results"
    if [ "$status" -eq 0 ]; then touch "$out/$name.done"; else
        failed="$failed $name"
        echo "   failed with $status, see $out/$name.txt"
    fi
}

tracker() { # NAME MODEL SIZE OBJECTS CAMERAS
    part "$1" "Tracker: $2 at $3, objects $4, cameras $5" "$python" -W ignore bench/tracker.py --models "$2" \
        --sizes "$3" --objects $4 --cameras $5 --json "$out/$1.json" --markdown "$out/$1.md" ${FORK:+--fork "$FORK"}
}

parity() { # NAME TESTS
    part "parity_$1" "Parity on the device: $1" "$python" -m pytest -n0 -q -rs -k "$2" tests/tracker/test_cuda.py \
        tests/tracker/test_preprocess.py tests/tracker/test_postprocess.py tests/sources/test_av_decoder.py
}

steady() { # SIZE MODEL
    part "steady_$2_$1" "After every event: $2 at $1" "$python" -W ignore \
        bench/steady.py --model "sam2.1_hiera_$2" --image-size "$1" --compile on \
        --json "$out/steady_$2_$1.json" --markdown "$out/steady_$2_$1.md"
}

latency() { # CAMERAS RATE
    part "latency_t_$1_$2" "End to end: tiny at 512, $1 cameras at $2 frames/s" \
        "$python" bench/latency.py --model sam2.1_hiera_t --image-size 512 --compile on --streams "$1" \
        --objects 1 --rates "$2" --seconds 10 --start-timeout 540 \
        --json "$out/latency_t_$1_$2.json" --markdown "$out/latency_t_$1_$2.md"
}

stages() { # MODEL
    part "stages_$1" "Where the time goes: $1 at 1024" "$python" -W ignore bench/stages.py \
        --model "sam2.1_hiera_$1" --image-size 1024 --dtype bfloat16 --trace "$out/stages_$1_trace.json" \
        --json "$out/stages_$1.json" --markdown "$out/stages_$1.md"
}

wanted="$*"
failed=""
parity graphs "eager_equals or cuda_graphs or grows"
parity pixels "frames_in_and_masks_out or preprocess or postprocess or av_decoder"
parity streams streams_in_one_batch
parity ranges range
for size in 1024 512; do
    tracker "tracker_t_${size}_1" sam2.1_hiera_t "$size" 1 1
done
for objects in 4 8 16; do
    tracker "tracker_t_1024_$objects" sam2.1_hiera_t 1024 "$objects" 1
done
tracker tracker_t_512_cameras_8 sam2.1_hiera_t 512 1 8
for size in 512 1024; do
    steady "$size" t
done
# Tiny at 512 is compiled by now. If it is not, these parts wait most of their time for it, and the next run
# finds it.
latency 8 30
part start "From the start to the first mask" "$python" bench/start.py --model sam2.1_hiera_t --image-size 512 \
    --compile on --starts 3 --start-timeout 540 --json "$out/start.json" --markdown "$out/start.md"
part soak "Memory of a daemon that runs for two minutes" "$python" bench/soak.py leaks --minutes 2 --rate 30 \
    --model sam2.1_hiera_t --image-size 512 --compile on --start-timeout 540 --json "$out/soak.json" \
    --markdown "$out/soak.md"
stages t
for size in 512 1024; do
    part "attention_$size" "Attention to memory that is full, masked, in ranges: $size" "$python" -W ignore \
        bench/attention.py --model sam2.1_hiera_t --image-size "$size" \
        --json "$out/attention_$size.json" --markdown "$out/attention_$size.md"
done
for objects in 4 8 16; do
    tracker "tracker_t_512_$objects" sam2.1_hiera_t 512 "$objects" 1
done
tracker tracker_t_512_cameras_4 sam2.1_hiera_t 512 1 4
latency 1 15
latency 1 30
latency 8 15
for model in b+ l; do
    for size in 512 1024; do
        for objects in 1 4 8 16; do
            tracker "tracker_${model}_${size}_$objects" "sam2.1_hiera_$model" "$size" "$objects" 1
        done
        steady "$size" "$model"
    done
done
stages l
if [ -n "${TRAIN:-}" ]; then
    # Resumes from its own last.pt when run again.
    part train "nano: nine minutes of training on" "$python" -m training.train --out "$out/nano" \
        --start-from streamseg/models/nano.pt --device cuda --budget-minutes 8 $TRAIN
fi
[ -z "$failed" ] || { echo "failed:$failed" && exit 1; }
