"""Training room: the worker process that trains fusers with DeepSpeed."""
