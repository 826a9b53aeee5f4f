"""Many prompts side by side in one forward pass, without padding."""
