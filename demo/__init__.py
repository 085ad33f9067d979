"""The demonstration: fetch real signed code by package name, then scan it."""
