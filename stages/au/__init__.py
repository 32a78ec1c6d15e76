"""Action Units: alignment, FHOG, geometry, running median, linear heads, and the offline pass."""

from auflow.stages.au.stage import AuStage, warm_up, warm_up_own

__all__ = ["AuStage", "warm_up", "warm_up_own"]
