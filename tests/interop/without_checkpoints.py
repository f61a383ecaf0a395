"""Run a program whose client reports each step by the answer to a request, as the official SDK does.

python without_checkpoints.py app.py
"""

import functools
import runpy
import sys

import inngest

if __name__ == "__main__":
    make = inngest.Inngest.__init__
    inngest.Inngest.__init__ = functools.partialmethod(make, checkpointing=False)  # type: ignore[assignment]
    sys.path.insert(0, "")
    runpy.run_path(sys.argv[1], run_name="__main__")
