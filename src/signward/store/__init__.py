"""The authority's memory: tables in SQLite or PostgreSQL, written by group commit.

One module per subject holds plain functions of a connection; ``engine`` opens the database
and commits.  Instants are whole microseconds since 1970 UTC, serial numbers lower-case
hexadecimal without leading zeros, digests raw bytes.
"""
