"""How well queries find the gallery items that carry their labels, exact and in bounded memory."""

from registry.retrieval.ranking import retrieval
from registry.retrieval.result import Retrieval, summarize
from registry.retrieval.task import Task, prepare

__all__ = ["Retrieval", "Task", "prepare", "retrieval", "summarize"]
