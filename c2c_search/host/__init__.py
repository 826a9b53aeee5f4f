"""The machine: files, signals, processes, threads, dtypes."""
