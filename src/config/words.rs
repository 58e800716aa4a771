//! The words that settings with a choice take.

use tracing::level_filters::LevelFilter;

use super::{CrossSlot, LogFormat, ReadFrom, UnknownOutcome};

pub(super) const LOG_LEVELS: &[(&str, LevelFilter)] = &[
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
pub(super) const CROSS_SLOT: &[(&str, CrossSlot)] =
    &[("refuse", CrossSlot::Refuse), ("split", CrossSlot::Split)];
pub(super) const SWITCH: &[(&str, bool)] = &[("on", true), ("off", false)];
pub(super) const ANSWERS: &[(&str, bool)] = &[("yes", true), ("no", false)];
pub(super) const READ_FROM: &[(&str, ReadFrom)] = &[
    ("primary", ReadFrom::Primary),
    ("prefer-replica", ReadFrom::PreferReplica),
    ("replica", ReadFrom::Replica),
    ("nearest", ReadFrom::Nearest),
    ("az-affinity", ReadFrom::ZoneAffinity),
];
pub(super) const UNKNOWN_OUTCOME: &[(&str, UnknownOutcome)] = &[
    ("error", UnknownOutcome::Error),
    ("close", UnknownOutcome::Close),
];
pub(super) const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("human", LogFormat::Human), ("json", LogFormat::Json)];
