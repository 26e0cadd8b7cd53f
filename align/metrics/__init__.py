"""What is measured of compatible representations, and of the spaces and galleries they live in.

Formulas and sources stand in the docstrings. Larger is better or closer everywhere, except where a name says distance,
discrepancy, tax or rate.
"""

from align.metrics.backfilling import BackfillCurve, backfill_auc, backfill_curve
from align.metrics.compatibility import (
    average_accuracy,
    average_compatibility,
    backward_gain,
    compatibility_tax,
    forward_gain,
    negative_flip_rate,
    p_scores,
    relative_negative_flip_rate,
    update_gain,
)
from align.metrics.criterion import Criterion, empirical_criterion
from align.metrics.drift import Discrepancy, frechet_distance, mmd
from align.metrics.likeness import linear_cka, procrustes_bound, procrustes_distance
from align.metrics.neighbours import Recall, neighbour_overlap, reembedding_recall
from align.metrics.ranking import map_at, retrieval
from align.metrics.verifying import Verification, draw_pairs, verification

__all__ = [
    "BackfillCurve",
    "Criterion",
    "Discrepancy",
    "Recall",
    "Verification",
    "average_accuracy",
    "average_compatibility",
    "backfill_auc",
    "backfill_curve",
    "backward_gain",
    "compatibility_tax",
    "draw_pairs",
    "empirical_criterion",
    "forward_gain",
    "frechet_distance",
    "linear_cka",
    "map_at",
    "mmd",
    "negative_flip_rate",
    "neighbour_overlap",
    "p_scores",
    "procrustes_bound",
    "procrustes_distance",
    "reembedding_recall",
    "relative_negative_flip_rate",
    "retrieval",
    "update_gain",
    "verification",
]
