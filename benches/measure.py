"""Runs commands for bench.py and measures each as a whole, by the operating system's accounting.

This process stays small. Linux counts the memory of the process that starts a program to the program's own peak.

Reads one JSON object a line, {"command", "cwd", "env", "log"}, and answers with one.
"""

import json
import os
import sys
import time

for line in sys.stdin:
    order = json.loads(line)
    os.chdir(order["cwd"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    files = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, log, fd) for fd in (1, 2))]
    moment, start = time.time(), time.perf_counter()
    try:
        child = os.posix_spawnp(order["command"][0], order["command"], order["env"], file_actions=files)
    except OSError as error:
        os.write(log, str(error).encode())
        print(json.dumps({"code": 127}), flush=True)
        continue
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - start
    os.close(log)
    result = {
        "code": os.waitstatus_to_exitcode(status),
        "moment": moment,
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024,
    }
    print(json.dumps(result), flush=True)
