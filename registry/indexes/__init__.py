"""Search indexes over what a version stored: FAISS, built out of process, kept beside the vectors, memory-mapped."""
