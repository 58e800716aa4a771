//! The table of metrics: one row each, from which the page for Prometheus and the reference in `docs/metrics.md` are made.
//!
//! A new metric is a row in `rows` and what it counts. Names, units and types follow <https://prometheus.io/docs/practices/naming/>.

mod rows;

use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder as _, TextEncoder};

use super::process::Usage;
use super::snapshot::Snapshot;
use crate::clock::Now;
use crate::measure;
use crate::measure::histogram::BOUNDS;

pub use self::rows::ROWS;
pub(super) use self::rows::is_up;

/// One row.
pub struct Row {
    pub name: &'static str,
    kind: Kind,
    /// Names of its labels, besides `listen` where a process has several services.
    labels: &'static [&'static str],
    pub about: &'static str,
    /// What makes it move, or stand where it stands.
    cause: &'static str,
    of: Of,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    /// Of seconds.
    Histogram,
}

/// Where its values come from.
enum Of {
    Process(fn(&Process) -> f64),
    Service(fn(&Look<'_>, &mut Samples)),
}

/// What is true of the whole process.
pub(super) struct Process {
    pub(super) started_ms: u64,
    pub(super) usage: Usage,
    pub(super) draining: bool,
    pub(super) log_lines_left_out: u64,
}

/// One service, and what it is called among several.
pub(super) struct Look<'a> {
    pub(super) now: Now,
    pub(super) listen: Option<&'a str>,
    pub(super) ready: bool,
    pub(super) snapshot: &'a Snapshot,
}

/// Values of one metric, each with the values of its labels.
#[derive(Default)]
struct Samples(Vec<(Vec<String>, Value)>);

enum Value {
    Number(f64),
    Times(measure::Histogram),
}

impl Samples {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn count(&mut self, labels: &[&str], count: u64) {
        self.number(labels, count as f64);
    }

    fn number(&mut self, labels: &[&str], number: f64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push((labels, Value::Number(number)));
    }

    fn times(&mut self, labels: &[&str], times: &measure::Histogram) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0.push((labels, Value::Times(times.clone())));
    }
}

/// The text that Prometheus wants to read, version 0.0.4.
pub(super) fn text(process: &Process, services: &[Look<'_>]) -> Vec<u8> {
    let families: Vec<MetricFamily> = ROWS
        .iter()
        .map(|row| row.family(process, services))
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    let mut text = Vec::new();
    // It refuses what has no samples or no name.
    if let Err(error) = TextEncoder::new().encode(&families, &mut text) {
        tracing::error!(%error, "metrics cannot be told");
    }
    text
}

impl Row {
    fn family(&self, process: &Process, services: &[Look<'_>]) -> MetricFamily {
        let mut metrics = Vec::new();
        match self.of {
            Of::Process(value) => {
                metrics.push(self.metric(&[], None, Value::Number(value(process))));
            }
            Of::Service(samples_of) => {
                for look in services {
                    let mut samples = Samples::default();
                    samples_of(look, &mut samples);
                    let all = samples.0.into_iter();
                    metrics.extend(
                        all.map(|(labels, value)| self.metric(&labels, look.listen, value)),
                    );
                }
            }
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.about.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family.set_metric(metrics);
        family
    }

    fn metric(&self, labels: &[String], listen: Option<&str>, value: Value) -> Metric {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        let named = self
            .labels
            .iter()
            .copied()
            .zip(labels.iter().map(String::as_str));
        let pairs = named.chain(listen.map(|listen| ("listen", listen)));
        let mut metric = Metric::from_label(
            pairs
                .map(|(name, value)| {
                    let mut pair = LabelPair::default();
                    pair.set_name(name.to_owned());
                    pair.set_value(value.to_owned());
                    pair
                })
                .collect(),
        );
        match (value, self.kind) {
            (Value::Times(times), _) => metric.set_histogram(histogram(&times)),
            (Value::Number(number), Kind::Counter) => {
                let mut counter = Counter::default();
                counter.set_value(number);
                metric.set_counter(counter);
            }
            (Value::Number(number), Kind::Gauge | Kind::Histogram) => {
                let mut gauge = Gauge::default();
                gauge.set_value(number);
                metric.set_gauge(gauge);
            }
        }
        metric
    }
}

#[expect(clippy::cast_precision_loss, reason = "bounds of a few digits")]
fn histogram(times: &measure::Histogram) -> Histogram {
    let mut below = 0;
    let buckets = BOUNDS.iter().zip(times.counts()).map(|(&bound, &count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64 / 1e9);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(times.count());
    histogram.set_sample_sum(times.sum().as_secs_f64());
    histogram
}

/// The reference page.
pub fn page() -> String {
    let mut out = String::from(PAGE_START);
    for row in ROWS {
        let kind = match row.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = row
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        out.push_str(&format!(
            "| `{}` | {kind} | {} | {} | {} |\n",
            row.name,
            labels.join(", "),
            row.about,
            row.cause
        ));
    }
    out
}

const PAGE_START: &str = "\
# Metrics

<!-- Made from src/admin/metrics/rows.rs; `WRITE_DOCS=1 cargo test --test reference` writes it. -->

Served as text for Prometheus at `/metrics` of the admin address (`--admin 127.0.0.1:9621`). A scrape asks each worker for a copy of its counts, between
two turns; counting and sampling cost a request some fifty instructions, 1 to 3 % of its way through slotcar. Where a process has several listeners with settings of their own (`[[listener]]`), samples
also have the label `listen`, but for those of the whole process (`process_…`, memory used, draining, lines of the log). Times are in seconds, sizes in bytes. Histograms count from 20 µs to 20 s in steps of 1, 2 and 5.

| metric | type | labels | what it is | what moves it |
|---|---|---|---|---|
";
