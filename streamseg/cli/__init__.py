"""The command line: one module for each command. Heavy imports happen when a command runs."""

import signal
import sys

if "run" in sys.argv[1:3]:
    # SIGHUP means "reload", even while the daemon is still starting: hold it until the supervisor handles it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
