"""Secure Boot as firmware and shim decide it: who may start, by what, and what would change it."""
