"""What starting DeepSpeed leaves behind in the process."""

from __future__ import annotations

import subprocess
import sys


def test_deepspeed_starts_without_mlflow_and_leaves_it_importable():
    # A fresh process: in this one, others have imported both.
    program = (
        "import sys\n"
        "from c2c_search.training.process import start_deepspeed\n"
        "start_deepspeed()\n"
        "assert 'mlflow' not in sys.modules\n"
        "import mlflow.exceptions\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
