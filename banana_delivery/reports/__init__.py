"""Figures turned into pages that a person reads: markdown tables, plots and one self-contained HTML report."""
