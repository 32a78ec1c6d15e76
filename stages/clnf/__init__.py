"""Constrained local neural fields: PDM, patch experts, NU-RLMS, parts, validator, video logic."""

from auflow.stages.clnf.stage import ClnfStage, fit_together, warm_up, warm_up_fit, warm_up_rest

__all__ = ["ClnfStage", "fit_together", "warm_up", "warm_up_fit", "warm_up_rest"]
