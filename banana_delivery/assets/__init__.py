"""The five assets, one file each, and the external ``rollout_log``."""
