//! one client: its session, its replies, what is answered here
