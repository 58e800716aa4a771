//! what every command means to a proxy: one table, one row each
