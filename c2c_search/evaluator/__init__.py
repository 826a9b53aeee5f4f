"""``c2c-search eval``, any systems on any tasks, from the command to the record."""
