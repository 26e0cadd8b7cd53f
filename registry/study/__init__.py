"""The numbers of a study, from vectors and labels alone; `registry.studying` brings both, and keeps what is found."""
