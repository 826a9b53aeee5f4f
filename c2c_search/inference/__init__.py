"""The class that answers, and what a champion needs to travel alone."""
