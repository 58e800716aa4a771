//! Every bound of the process, in one table. A limit is enforced at exactly one place.
