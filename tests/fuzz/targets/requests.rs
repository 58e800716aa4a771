//! `bodies/requests.rs` for libFuzzer.

#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each target runs one of them")]
mod bodies;
#[path = "../meter.rs"]
mod meter;

#[global_allocator]
static METER: meter::Meter = meter::Meter::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    METER.bound(4 << 20, 64, data.len(), || bodies::requests::run(data));
});
