"""Who is tested, who has proved it, and how the winner is packaged."""
