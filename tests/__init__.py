"""All tests. What lies in the checkout they find from here; the product itself only ever looks into its bundle."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout that is tested."""
