//! sockets and output buffers; no Redis here
