"""The driver that asks Optuna, trains, judges and promotes, and can always go on."""
