#!/bin/sh
# What a GPU should be asked first, in fifteen minutes of its time: parity, speed against the official code, the swap to
# compiled code, eight cameras. Each part writes OUT/NAME.json (or .txt) and a section of OUT/RESULTS.md with hardware,
# versions, clocks and date, to be moved into bench/RESULTS.md.
#
#   bench/gpu_suite.sh OUT            what is left of it, most important first, within the limits below
#   bench/gpu_suite.sh OUT PART ...   these parts, also ones beyond the fifteen minutes (listed at the end)
#
# Run it again to resume. A finished part leaves OUT/NAME.done; one that failed or ran out of time is tried again after
# all others. OUT/seconds holds the time that was used so far.
#
#   BUDGET=780       seconds of all runs together; starting a machine takes the other two minutes
#   CALL=560         seconds of one run
#   DRY=1            the same parts with a small model for a moment, on any machine
#   FORK=PATH        absolute path of a checkout of segment-anything-2-real-time: adds its arms
#   PYTHON=PATH      default: python of the environment; one word, the path of an interpreter
#   PYTHONPATH=PATH  absolute path of a folder that holds the package transformers and its dependencies except torch and
#                    numpy, which would hide those of the environment (`pip install --no-deps --target PATH`): adds
#                    its arm
#
# bench/tracker.py writes its results before the arms that compile longest, so a part that runs out of time has a table
# too. On a machine with torch but without a package registry: copy wheels of the other dependencies (pyproject.toml)
# for its Python there, with sam2 built with SAM2_BUILD_CUDA=0, install them without dependencies, and set PYTHON. Older
# versions of torch do less (docs/tracker.md has the table): before 2.12, a mask is used and the tests of ranges skip.
set -eu

out=$1
shift
wanted="$*"
python=${PYTHON:-python}
budget=${BUDGET:-780}
call=${CALL:-560}
dry=${DRY:-}
shortest=20  # no part gets less
mkdir -p "$out"
out=$(realpath "$out")  # before the cd below, since it may be relative
results=$out/RESULTS.md
cd "$(dirname "$0")/.."
# Compiled code is kept with the results, so that a part that ran out of time finds it again.
TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$out/inductor}
export TORCHINDUCTOR_CACHE_DIR PYTHONPATH=bench${PYTHONPATH:+:$PYTHONPATH}
began=$(date +%s)
used=$(cat "$out/seconds" 2>/dev/null || echo 0)
failed=$(cd "$out" && ls -- *.failed 2>/dev/null || true)
status=0

left() { # seconds that a part may take now
    now=$(($(date +%s) - began))
    of_all=$((budget - used - now)) of_call=$((call - now))
    [ -z "$wanted" ] || of_all=$of_call
    echo $((of_all < of_call ? of_all : of_call))
}

part() { # NAME SECONDS TITLE COMMAND...: once; its failure does not stop the others
    name=$1 limit=$2 title=$3
    shift 3
    [ -z "$dry" ] || limit=$call # these are for a GPU
    [ ! -e "$out/$name.done" ] || return 0
    if [ -n "$wanted" ]; then
        case " $wanted " in *" $name "*) ;; *) return 0 ;; esac
    else # those that failed in an earlier run come last
        case " $failed" in *"$name.failed"*) [ "$turn" = again ] || return 0 ;; *) [ "$turn" = first ] || return 0 ;; esac
    fi
    room=$(left)
    [ "$room" -ge "$shortest" ] || { echo "== $name: no time left"; status=1; return 0; }
    [ "$limit" -le "$room" ] || limit=$room
    echo "== $name: $title, $limit s at most"
    started=$(date +%s)
    rm -f "$out/$name.md" "$out/$name.failed"
    code=0
    timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || code=$?
    took=$(($(date +%s) - started))
    {
        printf '\n## %s\n\n`%s`, exit status %s after %s s.\n' "$title" "$*" "$code" "$took"
        if [ -e "$out/$name.md" ]; then cat "$out/$name.md"; else
            printf '\n```\n%s\n```\n' "$(tail -n 12 "$out/$name.txt")"
        fi
    } >>"$results"
    echo $((used + $(date +%s) - began)) >"$out/seconds"
    if [ "$code" -eq 0 ]; then touch "$out/$name.done"; else
        touch "$out/$name.failed"
        status=1
        echo "   failed with $code after $took s, see $out/$name.txt"
    fi
}

bench() { # NAME SECONDS TITLE SCRIPT ARGUMENT...
    name=$1 limit=$2 title=$3 script=$4
    shift 4
    part "$name" "$limit" "$title" "$python" -W ignore "bench/$script.py" "$@" \
        --json "$out/$name.json" --markdown "$out/$name.md"
}

tracker() { # NAME SECONDS MODEL SIZE OBJECTS CAMERAS [OPTION...]
    name=$1 limit=$2 model=$3 size=$4 objects=$5 cameras=$6
    shift 6
    if [ -n "$dry" ]; then
        model=tests/tracker/small_sam2.yaml size=128 objects=1 cameras=1
        set -- --no-compiled --dtypes float32 --rounds 1 --block 1 --warm-up 2 --no-vos
    fi
    bench "$name" "$limit" "Tracker: $model at $size, objects $objects, cameras $cameras" tracker --models "$model" \
        --sizes "$size" --objects "$objects" --cameras "$cameras" ${FORK:+--fork "$FORK"} "$@"
}

either() { if [ -n "$dry" ]; then echo "$1"; else echo "$2"; fi; } # in a dry run the first

parity() { # NAME SECONDS TESTS
    part "$1" "$2" "Parity on the device: $3" "$python" -m pytest -n0 -q -rs -k "$3" ${dry:+--collect-only} \
        tests/tracker/test_cuda.py tests/tracker/test_preprocess.py tests/tracker/test_postprocess.py \
        tests/sources/test_av_decoder.py
}

steady() { # MODEL SIZE
    bench "steady_$1_$2" 500 "After every event: $1 at $2" steady --model "sam2.1_hiera_$1" --image-size "$2" \
        --compile on
}

# shellcheck disable=SC2046,SC2086  # some are several words
fifteen_minutes() {
    tiny=$(either "--model nano" "--model sam2.1_hiera_t --image-size 512")
    parity parity 150 "eager_equals or cuda_graphs or grows or streams_in_one_batch or range or masks_out or av_decoder"
    tracker tracker_t_1024_1 160 sam2.1_hiera_t 1024 1 1 --no-vos
    bench swap 140 "The swap to compiled code: tiny at 512" swap $tiny $(either "--limit 1 --after 1" "--limit 120")
    tracker tracker_t_512_8 110 sam2.1_hiera_t 512 8 1 --no-vos
    bench latency_8_30 100 "End to end: tiny at 512, 8 cameras at 30 frames/s" latency $tiny --objects 1 --rates 30 \
        --start-timeout 80 $(either "--streams 1 --seconds 1" "--streams 8 --seconds 10 --compile on")
    tracker tracker_t_512_cameras_8 90 sam2.1_hiera_t 512 1 8 --no-vos
    bench attention_1024 50 "Attention to memory that is full, masked, in ranges: 1024" attention \
        --model sam2.1_hiera_t --image-size "$(either 64 1024)"
    bench stages_t 60 "Where the time goes: tiny at 1024" stages --model sam2.1_hiera_t --dtype bfloat16 \
        $(either "--image-size 64 --repeats 1" "--image-size 1024") --trace "$out/stages_t_trace.json"
}

# Only by name. The arm `official vos` compiles for many minutes.
more() { # functions share their variables, so these have other names
    for kind in t b+ l; do
        for side in 1024 512; do
            for count in 1 4 8 16; do
                tracker "vos_${kind}_${side}_$count" 560 "sam2.1_hiera_$kind" "$side" "$count" 1
            done
            steady "$kind" "$side"
        done
    done
    bench start 500 "From the start to the first mask" start --model sam2.1_hiera_t --image-size 512 \
        --compile auto on --starts 3 --start-timeout 400
}

for turn in first again; do fifteen_minutes; done
[ -z "$wanted" ] || more
echo "$((used + $(date +%s) - began)) of $budget s used"
exit "$status"
