"""Findings: evidence, claims and wording of verdicts, and the pages that show them."""
