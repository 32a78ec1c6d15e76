"""A child of the doctor's that does what bad drivers do; run as the looks are, with LOOK ITEM..."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

for item in sys.argv[2:]:
    if item == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "hang":
        time.sleep(60)
    if item == "leave":
        sys.exit("no license for this library")
    print("a library says hello")
    print(json.dumps(["something", "else"]))
    print(json.dumps([item, {"value": item.upper()}]), flush=True)
