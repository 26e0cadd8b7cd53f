"""Labelled images to train and measure on, and vectors that other models wrote, from files; plain arrays, no torch.

Dataset       images and labels in a training and a test part
load          reads one: the digits, an .npz file, or a folder of images
Embeddings    ids, vectors and labels of items
embeddings    reads them in chunks, from Parquet or .npy
gather        puts chunks together, with the vectors on disk
"""

from align.data.dataset import Array, Dataset, parse_classes
from align.data.loading import load
from align.data.vectors import Embeddings, embeddings, gather

__all__ = ["Array", "Dataset", "Embeddings", "embeddings", "gather", "load", "parse_classes"]
