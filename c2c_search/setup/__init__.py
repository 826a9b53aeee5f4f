"""What comes before a study: is this machine ready, is this data good, where does one begin."""
