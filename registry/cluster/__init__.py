"""Computing on a Ray cluster: workers read vectors and compute, the process that asked keeps the facts and writes."""
