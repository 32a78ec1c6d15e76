"""Constrained local neural fields: PDM, patch experts, NU-RLMS, parts, validator, video logic."""

from auflow.stages.clnf.stage import ClnfStage, warm_up, warm_up_fit, warm_up_rest

__all__ = ["ClnfStage", "warm_up", "warm_up_fit", "warm_up_rest"]
