"""Named retrieval benchmarks: fetched once by the library that knows them, then a folder like any other."""
