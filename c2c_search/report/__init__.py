"""What a study looks like while it runs and when it is done."""
