#!/bin/bash
# Runs a command under a private user manager of systemd. To be started in namespaces of its own, see
# test_user_manager.py: nothing of the machine's own is touched. Never a system manager, which would empty /tmp.
set -eu
mount --make-rprivate /
mount -t proc proc /proc
# Private copies of everything that manager and services write to, and a user like the one that the installation makes.
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /srv
mkdir -p /run/systemd/system /run/manager /srv/home
for file in passwd group; do
    cp "/etc/$file" "/srv/$file"
done
echo 'streamseg:x:990:990::/nonexistent:/usr/sbin/nologin' >>/srv/passwd
echo 'streamseg:x:990:' >>/srv/group
for file in passwd group; do
    mount --bind "/srv/$file" "/etc/$file"
done
export XDG_RUNTIME_DIR=/run/manager HOME=/srv/home
# A service without access to the real /tmp gets its own below this one.
mount -t tmpfs tmpfs /var/tmp
/lib/systemd/systemd --user --log-target=console 2>/srv/manager.log &
manager=$!
for _ in $(seq 300); do
    [ -S /run/manager/systemd/private ] && break
    sleep 0.1
done
# A manager that runs as root looks for these where only the system's manager makes them.
cp -a "$XDG_RUNTIME_DIR/systemd/inaccessible" /run/systemd/
# The system's manager takes notifications from services of other users, too.
chmod 0777 "$XDG_RUNTIME_DIR/systemd/notify"
status=0
"$@" || status=$?
[ "$status" = 0 ] || tail -n 40 /srv/manager.log >&2
kill "$manager"
wait "$manager" || true
exit "$status"
