#!/bin/bash
# Runs a command under a private user manager of systemd. To be started in namespaces of its own, see
# test_user_manager.py: nothing of the machine's own is touched. Never a system manager, which would empty /tmp.
set -eu
mount --make-rprivate /
mount -t proc proc /proc
scratch=$1
shift
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 HOME="$scratch"
/lib/systemd/systemd --user --log-target=null 2>"$scratch/manager.log" &
manager=$!
for _ in $(seq 300); do
    [ -S /run/user/0/systemd/private ] && break
    sleep 0.1
done
status=0
"$@" || status=$?
kill "$manager"
wait "$manager" || true
exit "$status"
