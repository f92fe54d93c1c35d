#!/bin/bash
# Trains nano in the background, with what other work leaves of the machine:
#
#   training/background.sh start [--commit COMMIT] [OPTION...]   start, or resume from the last save
#   training/background.sh pause | resume                        while a benchmark or the test suite runs
#   training/background.sh stop                                  save and stop; `start` resumes
#   training/background.sh status                                progress; why the run ended, if a process of it failed
#   training/background.sh anneal MINUTES                        weights to judge: a copy whose learning rate falls to zero
#
# OPTIONs are those of `python -m training.train` (material, rate, plan); the run remembers them. Without options, a new
# run takes its material from NANO_COCO, NANO_RENDERS and NANO_MORE. It starts from the weights that ship.
#
# The run itself keeps its rate: it waits while a copy is annealed, then continues. The result is
# training/run/anneal/nano.pt.
#
# If one of the training processes fails or is killed, all end; `start` resumes from the last save.
#
# NANO_NICE is the nice value, 19 unless set.
#
# The run lives in training/run (or in $NANO_RUN): a git worktree at the commit it was started with, checkpoints and log.
set -euo pipefail

repository=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
run=$(realpath -m "${NANO_RUN:-$repository/training/run}")
pids=$run/pids
code=$run/code
python=$code/.venv/bin/python
niceness=${NANO_NICE:-19}

# Prints the ids of the run's processes that are still alive, without ids that other processes have reused.
alive() {
    local pid started fields
    [ -f "$pids" ] || return 0
    while read -r pid started; do
        fields=$(cat "/proc/$pid/stat" 2>/dev/null) || continue
        # shellcheck disable=SC2086  # The fields after the command's name, which may hold spaces.
        set -- ${fields##*) }
        [ "${20}" = "$started" ] && [ "$1" != Z ] && echo "$pid"
    done <"$pids"
    return 0
}

signal() {
    local found
    mapfile -t found < <(alive)
    [ ${#found[@]} -gt 0 ] && kill "-$1" "${found[@]}" 2>/dev/null
}

# Trains with the options after `--`; what comes before `--` is put in front of the command.
launch() {
    local before=()
    while [ "$1" != -- ]; do
        before+=("$1")
        shift
    done
    OMP_NUM_THREADS=1 exec "${before[@]}" nice -n "$niceness" ionice -c 3 "$python" -m training.train --pid-file "$pids" \
        --start-from streamseg/models/nano.pt --plan further --processes "$(nproc)" --learning-rate 3e-4 \
        --warmup-steps 50 "${@:2}"
}

begin() {
    local commit=HEAD
    if [ "${1:-}" = --commit ]; then
        commit=$2
        shift 2
    elif [ -d "$code" ]; then
        commit=
    fi
    if signal CONT; then
        echo "it runs already"
        return
    fi
    mkdir -p "$run"
    if [ $# -gt 0 ]; then
        printf '%s\n' "$@" >"$run/options"
    elif [ ! -f "$run/options" ]; then
        : "${NANO_COCO:?names the folder of photographs with outlines; or give options}"
        printf '%s\n' --coco "$NANO_COCO" ${NANO_RENDERS:+--renders "$NANO_RENDERS"} \
            ${NANO_MORE:+--more "$NANO_MORE"} >"$run/options"
    fi
    if [ ! -d "$code" ]; then
        git -C "$repository" worktree prune
        git -C "$repository" worktree add --quiet --detach "$code" "$commit"
    elif [ -n "$commit" ]; then
        git -C "$code" checkout --quiet --detach "$(git -C "$repository" rev-parse "$commit")"
    fi
    (cd "$code" && uv sync --quiet --group training)
    local options
    mapfile -t options <"$run/options"
    rm -f "$pids"
    cd "$code"
    launch nohup setsid -- "${options[@]}" --out "$run" --endless >>"$run/output.txt" 2>&1 </dev/null &
    local trainer=$!
    # The trainer writes its processes' ids once it has read its material.
    while [ ! -f "$pids" ]; do
        kill -0 "$trainer" 2>/dev/null || { tail -n 5 "$run/output.txt" >&2; return 1; }
        sleep 0.5
    done
    # Linux may schedule by session (sched_autogroup): a nice value then counts within its session only.
    echo "$niceness" 2>/dev/null >"/proc/$trainer/autogroup" || true
    echo "started at $(git rev-parse --short HEAD), process $trainer"
}

end() {
    local found deadline=$((SECONDS + 300))
    signal CONT || { echo "it does not run"; return; }
    mapfile -t found < <(alive)
    kill -TERM "${found[0]}"
    while [ -n "$(alive)" ]; do
        [ $SECONDS -lt $deadline ] || { echo "it has not ended after 5 minutes" >&2; return 1; }
        sleep 0.5
    done
    echo "saved and stopped"
}

anneal() {
    local minutes=$1 options
    end
    rm -rf "$run/anneal"
    mkdir "$run/anneal"
    cp "$run/last.pt" "$run/anneal/stable.pt"
    mapfile -t options <"$run/options"
    rm -f "$pids"
    (cd "$code" && launch -- "${options[@]}" --out "$run/anneal" --extend --budget-minutes "$minutes" --cooldown 1)
    begin
    echo "annealed: $run/anneal/nano.pt"
}

describe() {
    local state=stopped found
    mapfile -t found < <(alive)
    if [ ${#found[@]} -gt 0 ]; then
        state=running
        [ "$(sed 's/.*) //; s/ .*//' "/proc/${found[0]}/stat")" = T ] && state=paused
    fi
    [ -d "$code" ] || { echo "there is no run in $run"; return; }
    echo "$state at commit $(git -C "$code" rev-parse --short HEAD), in $run"
    (cd "$code" && "$python" -m training.progress "$run")
}

case "${1:-}" in
    start) begin "${@:2}" ;;
    pause) signal STOP && echo paused || echo "it does not run" ;;
    resume) signal CONT && echo resumed || echo "it does not run" ;;
    stop) end ;;
    status) describe ;;
    anneal) anneal "${2:?how many minutes?}" ;;
    *) sed -n '2,21s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
