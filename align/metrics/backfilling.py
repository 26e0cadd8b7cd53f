"""What queries find while a gallery is re-embedded row by row: measured in the registry, which studies upgrades by it.

>>> round(backfill_auc([0, 0.5, 1], [0.4, 0.5, 0.6]), 6)
0.5
"""

from registry.retrieval.backfilling import BackfillCurve, backfill_auc, backfill_curve

__all__ = ["BackfillCurve", "backfill_auc", "backfill_curve"]
