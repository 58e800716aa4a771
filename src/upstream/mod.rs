//! one link to a node
