"""The worker process that trains fusers with DeepSpeed."""
