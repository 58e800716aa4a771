//! where a request goes, and what happens when that fails
