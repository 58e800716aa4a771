//! Requests and answers: which path shows what, and to whom.
//!
//! Probes and metrics are for whoever reaches the address: a kubelet, a Prometheus. All else (keys, clients, the configuration, ending the
//! process) is only for who is on this machine, or in this pod: `kubectl port-forward` is. A web page elsewhere cannot make a
//! browser ask for it: names that resolve to the loopback and requests of other origins are refused.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::health::Health;
use super::metrics::{self, Look, Process};
use super::process::Usage;
use super::snapshot::{PATIENCE, Snapshot};
use super::status::{self, Status};
use super::{Events, Line, Watched};
use crate::clock::{Now, now, unix_millis};
use crate::worker::hub::report::Detail;

const PAGE: &str = include_str!("page.html");

/// How often it is looked whether all is well while nobody asks: trouble counts from when it began.
const LOOK: Duration = Duration::from_millis(200);

/// Connections at a time: some for probes, Prometheus, and people.
const CONNECTIONS_MAX: usize = 64;

/// For the head of a request, and between two on one connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);

/// How long one connection may last.
const CONNECTION_MAX: Duration = Duration::from_secs(3600);

/// After an accept has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What the page may do: nothing but ask where it came from.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

type Answer = Response<Full<Bytes>>;

/// What all answers are made of.
struct Admin {
    services: Vec<Watched>,
    health: RefCell<Vec<Health>>,
    events: Events,
    line: Line,
    started_ms: u64,
}

/// Serves for ever.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    services: Vec<Watched>,
    events: Events,
    line: Line,
) -> io::Result<()> {
    let uptime = u64::try_from(now().since_start().as_millis()).unwrap_or(0);
    let admin = Rc::new(Admin {
        health: RefCell::new(vec![Health::default(); services.len()]),
        services,
        events,
        line,
        started_ms: unix_millis().saturating_sub(uptime),
    });
    spawn_local(look_after_health(admin.clone()));
    let listener = TcpListener::from_std(listener)?;
    let places = Rc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection for health or metrics failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (admin, places) = (admin.clone(), places.clone());
        spawn_local(async move {
            // Whoever finds no place is not answered: a probe counts that as a failure.
            let Ok(_place) = places.try_acquire() else {
                return;
            };
            drop(timeout(CONNECTION_MAX, converse(admin, stream, peer)).await);
        });
    }
}

async fn look_after_health(admin: Rc<Admin>) {
    loop {
        admin.look();
        sleep(LOOK).await;
    }
}

async fn converse(admin: Rc<Admin>, stream: TcpStream, peer: SocketAddr) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let admin = admin.clone();
        async move { Ok::<_, Infallible>(admin.answer(&request, peer.ip()).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(client = %peer, %error, "a request for health or metrics failed");
    }
}

impl Admin {
    /// Takes in how all services are now.
    fn look(&self) {
        let at = now();
        for (health, service) in self.health.borrow_mut().iter_mut().zip(&self.services) {
            let published = &service.published;
            let (topology, suspects) = (published.topology.load(), published.suspects.load());
            health.update(at, &topology, &suspects, &published.trouble.load());
        }
    }

    async fn answer(&self, request: &Request<Incoming>, peer: IpAddr) -> Answer {
        let path = request.uri().path();
        let Some(route) = ROUTES.iter().find(|route| route.path == path) else {
            let known: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
            let text = format!("there is no {path} here, only {}\n", known.join(" "));
            return say(StatusCode::NOT_FOUND, text);
        };
        let is_right = if route.is_post {
            request.method() == Method::POST
        } else {
            request.method() == Method::GET || request.method() == Method::HEAD
        };
        if !is_right {
            let wanted = if route.is_post { "POST" } else { "GET" };
            let text = format!("{path} takes {wanted}\n");
            return say(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        if !route.is_public
            && let Err(why) = is_ours(request, peer)
        {
            return say(StatusCode::FORBIDDEN, format!("{why}\n"));
        }
        self.look();
        match route.what {
            What::Live => self.live().await,
            What::Ready => say_health(self.unready()),
            What::Started => say_health(self.not_started()),
            What::Metrics => self.metrics().await,
            What::Topology => self.topology().await,
            What::Config => as_json(&**self.line.config.load()),
            What::Status => self.status().await,
            What::Audit => self.audit(request.uri().query() == Some("text")).await,
            What::Page => page(),
            What::Drain => self.drain(),
        }
    }

    /// Every worker answers.
    async fn live(&self) -> Answer {
        let mut silent = Vec::new();
        for service in &self.services {
            for (index, desk) in service.desks.iter().enumerate() {
                let answered = timeout(PATIENCE, desk.ask(Detail::Counts)).await;
                // A worker ends when it is told to.
                if !matches!(answered, Ok(Some(_))) && !self.line.is_draining() {
                    silent.push(format!(
                        "worker {index} of {} does not answer",
                        service.listen.join(", ")
                    ));
                }
            }
        }
        say_health(silent)
    }

    /// Why it is not ready, all services together; empty: it is.
    fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.line.is_draining() {
            reasons.push("draining".to_owned());
        }
        for index in 0..self.services.len() {
            reasons.extend(self.reasons(now(), index));
        }
        reasons
    }

    /// Why one service is not ready.
    fn reasons(&self, now: Now, index: usize) -> Vec<String> {
        let health = self.health.borrow();
        let (Some(health), Some(service)) = (health.get(index), self.services.get(index)) else {
            return Vec::new();
        };
        let hold = service.live.borrow().hold_max;
        health.unready(now, hold).to_vec()
    }

    fn not_started(&self) -> Vec<String> {
        let health = self.health.borrow();
        let waiting = health.iter().filter(|health| !health.started);
        waiting.flat_map(|health| health.trouble.clone()).collect()
    }

    async fn metrics(&self) -> Answer {
        let at = now();
        let mut snapshots = Vec::new();
        for service in &self.services {
            snapshots.push(Snapshot::take(at, service, Detail::Counts).await);
        }
        if snapshots.iter().any(|snapshot| snapshot.missing > 0) {
            // Counts that lack a worker's would seem to go backwards.
            let text = "a worker does not answer\n".to_owned();
            return say(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        let names: Vec<String> = self.services.iter().map(|s| s.listen.join(",")).collect();
        let is_one_of_several = self.services.len() > 1;
        let looks: Vec<Look<'_>> = snapshots
            .iter()
            .zip(&names)
            .enumerate()
            .map(|(index, (snapshot, name))| Look {
                now: at,
                listen: is_one_of_several.then_some(name),
                ready: !self.line.is_draining() && self.reasons(at, index).is_empty(),
                snapshot,
            })
            .collect();
        let process = Process {
            started_ms: self.started_ms,
            usage: Usage::now(),
            draining: self.line.is_draining(),
            log_lines_left_out: self.line.log.left_out(),
        };
        respond(
            StatusCode::OK,
            METRICS_TYPE,
            metrics::text(&process, &looks),
        )
    }

    async fn topology(&self) -> Answer {
        let at = now();
        let mut all = Vec::new();
        for service in &self.services {
            let snapshot = Snapshot::take(at, service, Detail::Counts).await;
            all.push(status::topology(at, service, &snapshot));
        }
        as_json(&all)
    }

    async fn status(&self) -> Answer {
        let (at, now_ms) = (now(), unix_millis());
        let mut services = Vec::new();
        let mut memory_max = 0;
        for (index, service) in self.services.iter().enumerate() {
            let snapshot = Snapshot::take(at, service, Detail::Everything).await;
            memory_max = snapshot.memory_max;
            let reasons = self.reasons(at, index);
            services.push(status::service(at, now_ms, service, reasons, &snapshot));
        }
        let reasons = self.unready();
        as_json(&Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: at.since_start().as_secs_f64(),
            now_ms,
            ready: reasons.is_empty(),
            reasons,
            draining: self.line.is_draining(),
            services,
            memory: status::memory_now(memory_max),
            events: self.events.all(),
        })
    }

    /// What the audit has found, of each service that has one.
    async fn audit(&self, is_text: bool) -> Answer {
        let (mut texts, mut values) = (String::new(), Vec::new());
        for service in &self.services {
            let snapshot = Snapshot::take(now(), service, Detail::Audit).await;
            if let Some(audit) = &snapshot.workers.audit {
                let report = audit.report();
                texts.push_str(&report.to_text());
                values.push(report.to_json());
            }
        }
        match values.as_slice() {
            [] => say(
                StatusCode::NOT_FOUND,
                "there is no audit: --audit on makes one, before one server\n".to_owned(),
            ),
            [_, ..] if is_text => say(StatusCode::OK, texts),
            [one] => respond(StatusCode::OK, "application/json", one.clone().into_bytes()),
            several => {
                let all = format!("[{}]", several.join(","));
                respond(StatusCode::OK, "application/json", all.into_bytes())
            }
        }
    }

    fn drain(&self) -> Answer {
        self.line.drain.notify_one();
        say(StatusCode::ACCEPTED, "draining\n".to_owned())
    }
}

/// One path.
struct Route {
    path: &'static str,
    what: What,
    /// For whoever reaches the address.
    is_public: bool,
    is_post: bool,
}

enum What {
    Page,
    Live,
    Ready,
    Started,
    Metrics,
    Topology,
    Config,
    Status,
    Audit,
    Drain,
}

const fn public(path: &'static str, what: What) -> Route {
    Route {
        path,
        what,
        is_public: true,
        is_post: false,
    }
}

const fn ours(path: &'static str, what: What) -> Route {
    Route {
        is_public: false,
        ..public(path, what)
    }
}

const ROUTES: &[Route] = &[
    ours("/", What::Page),
    public("/livez", What::Live),
    public("/readyz", What::Ready),
    public("/startupz", What::Started),
    public("/metrics", What::Metrics),
    ours("/topology", What::Topology),
    ours("/config", What::Config),
    ours("/status", What::Status),
    ours("/audit", What::Audit),
    Route {
        is_post: true,
        ..ours("/drain", What::Drain)
    },
];

/// Whether a request comes from this machine, and from no page of somebody else.
fn is_ours(request: &Request<Incoming>, peer: IpAddr) -> Result<(), &'static str> {
    if !peer.to_canonical().is_loopback() {
        return Err(
            "only for who is on this machine: from elsewhere ask for /livez, /readyz, /startupz or /metrics",
        );
    }
    let header = |name| request.headers().get(name)?.to_str().ok();
    let host = header(HOST).unwrap_or_default();
    if !is_of_this_machine(host) {
        return Err("only under an address of the loopback or as localhost");
    }
    match header(ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => {
            Err("not for pages of another origin")
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a `Host` names the loopback: a name that somebody else has made to mean it does not.
fn is_of_this_machine(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_canonical().is_loopback();
    }
    if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

fn page() -> Answer {
    let mut answer = respond(
        StatusCode::OK,
        "text/html; charset=utf-8",
        PAGE.as_bytes().to_vec(),
    );
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
    answer
}

/// `trouble`: a line for each reason why not.
fn say_health(trouble: Vec<String>) -> Answer {
    if trouble.is_empty() {
        return say(StatusCode::OK, "ok\n".to_owned());
    }
    say(StatusCode::SERVICE_UNAVAILABLE, trouble.join("\n") + "\n")
}

fn say(status: StatusCode, text: String) -> Answer {
    respond(status, "text/plain; charset=utf-8", text.into_bytes())
}

fn as_json(value: &(impl Serialize + ?Sized)) -> Answer {
    match serde_json::to_vec(value) {
        Ok(text) => respond(StatusCode::OK, "application/json", text),
        Err(error) => say(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    let headers = answer.headers_mut();
    headers.insert("cache-control", HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    answer
}

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_mean_another_machine_are_of_this_one() {
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:9621", true),
            ("127.0.0.1:9621", true),
            ("127.9.9.9", true),
            ("[::1]:9621", true),
            ("[::1]", true),
            ("", false),
            ("10.0.0.1:9621", false),
            ("localhost.example.com", false),
            ("rebound.example.com:9621", false),
        ] {
            assert_eq!(is_of_this_machine(host), expected, "{host}");
        }
    }
}
