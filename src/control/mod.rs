//! slow things on their own thread
