"""``python -m c2c_search``, the same as the command ``c2c-search``."""

from __future__ import annotations

from c2c_search.cli import main


if __name__ == "__main__":
    main()
