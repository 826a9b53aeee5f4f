"""Champions behind an API that their clients already speak: `c2c-search serve`."""
