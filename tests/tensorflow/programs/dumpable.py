"""Says whether this process may be dumped and looked into: prctl(PR_GET_DUMPABLE)."""

import ctypes

print("dumpable", ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)
