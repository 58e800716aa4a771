//! one per core: the hub and its pumps
