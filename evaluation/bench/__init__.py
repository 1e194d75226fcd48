"""Benchmarks: speeds and sizes of every part, beside floors and other libraries."""
