"""What a study searches, how it samples it, and what that will cost."""

from c2c_search.space.loading import validate_file
from c2c_search.space.schema import Space


__all__ = ["Space", "validate_file"]
