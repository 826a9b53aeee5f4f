"""Workers on other machines: Ray carries their lines and their trials' folders."""
