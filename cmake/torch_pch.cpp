// Carries the precompiled header that every LibTorch folder reuses.
