"""Action Units: alignment, FHOG, geometry, running median, linear heads, and the offline pass."""

from auflow.stages.au.stage import AuStage, warm_up

__all__ = ["AuStage", "warm_up"]
