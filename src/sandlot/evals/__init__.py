"""Evals: YAML suites whose every trial runs in a workspace of its own and is graded where the target cannot reach.

Uses the public SDK only.
"""
