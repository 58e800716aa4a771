//! A slotcar that shows over HTTP how it is, and what its metrics say.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value as Json;

use crate::support::{Cluster, Slotcar, address, wait_until};

/// A slotcar with an admin address.
pub(crate) struct Shown {
    pub(crate) slotcar: Slotcar,
    pub(crate) admin: SocketAddr,
}

impl Shown {
    /// Returns when slotcar serves.
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut shown = Shown::start_listening(args);
        shown.slotcar.wait_serving();
        shown
    }

    /// Returns when slotcar listens, whether or not anything stands behind it.
    pub(crate) fn start_listening(args: &[&str]) -> Self {
        Shown::start_by(args, |args| Slotcar::start_listening(args))
    }

    /// The same, with listeners that `args` name; one of them is `addr`.
    pub(crate) fn start_with_own_listeners(addr: SocketAddr, args: &[&str]) -> Self {
        Shown::start_by(args, |args| Slotcar::start_with_own_listeners(addr, args))
    }

    fn start_by(args: &[&str], start: impl Fn(&[&str]) -> Slotcar) -> Self {
        let admin = address::unused();
        let address = admin.to_string();
        let slotcar = start(&[args, &["--admin", &address]].concat());
        wait_until("it shows how it is", SECONDS(10), || {
            TcpStream::connect(admin).is_ok()
        });
        Shown { slotcar, admin }
    }

    pub(crate) fn before(cluster: &Cluster, more: &[&str]) -> Self {
        Shown::start(&[&["--cluster", &cluster.seeds()], more].concat())
    }

    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.admin).expect("admin listens");
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).unwrap();
        // At once: who does not understand its beginning would end the connection in the middle of the rest.
        let request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
        (status, body.to_owned())
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "Host: localhost\r\n")
    }

    pub(crate) fn json(&self, path: &str) -> Json {
        let (status, text) = self.get(path);
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Value of each sample, by name and labels.
    pub(crate) fn metrics(&self) -> Samples {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Samples(samples.collect())
    }

    /// Waits until the samples fit; returns them.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&Samples) -> bool,
    ) -> Samples {
        let mut samples = self.metrics();
        wait_until(what, limit, || {
            samples = self.metrics();
            fits(&samples)
        });
        samples
    }
}

pub(crate) struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// All samples together that are meant by a name and the values of some labels: `slotcar_links kind=shared state=open`.
    pub(crate) fn sum(&self, what: &str) -> f64 {
        let of_these = self.0.iter().filter(|(sample, _)| is_meant(what, sample));
        of_these.map(|(_, value)| value).sum()
    }

    /// What the same sum has grown by since an earlier scrape.
    pub(crate) fn grown(&self, before: &Samples, what: &str) -> f64 {
        self.sum(what) - before.sum(what)
    }

    /// How many samples are meant.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.names().filter(|sample| is_meant(what, sample)).count()
    }

    /// As they stand in the scrape, with all labels.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// What every one of `moves` did between the first scrape and a later one: `+slotcar_holds_total` grew, `-slotcar_ready` fell.
pub(crate) fn assert_moved(cause: &str, moves: &[&str], scrapes: &[Samples]) {
    let (before, later) = scrapes.split_first().expect("a scrape before the cause");
    for moved in moves {
        let (sign, what) = moved.split_at(1);
        let was = before.sum(what);
        let are: Vec<f64> = later.iter().map(|scrape| scrape.sum(what)).collect();
        let is_moved = are.iter().any(|is| match sign {
            "+" => *is > was,
            "-" => *is < was,
            _ => panic!("{moved}: + or -"),
        });
        assert!(is_moved, "{cause}: {moved}: was {was} and then {are:?}");
    }
}

/// Whether `what` means this sample.
pub(crate) fn is_meant(what: &str, sample: &str) -> bool {
    let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
    let mut words = what.split(' ');
    words.next() == Some(name)
        && words.all(|word| {
            let (label, value) = word.split_once('=').expect("a label and its value");
            labels.contains(&format!("{label}=\"{value}\""))
        })
}

pub(crate) const SECONDS: fn(u64) -> Duration = Duration::from_secs;
