"""Tasks room: benchmarks, one file each."""
