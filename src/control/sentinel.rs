//! What Sentinels know: the primary of a name, its replicas, each other, and when another one is primary.
//!
//! Source: <https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>, "Sentinel API", and
//! <https://redis.io/docs/latest/develop/reference/sentinel-clients/>.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::decide::View;
use super::facts::text;
use super::random::Random;
use super::wire::{Dialer, decode};
use super::{AskFailure, Hint};
use crate::topology::{Endpoint, Member, ShardSpec, SlotRange, SlotsError, Topology, is_host};

/// What one Sentinel says.
pub(super) struct Heard {
    pub(super) primary: Endpoint,
    pub(super) sentinels: Vec<Endpoint>,
    master_name: Arc<str>,
    replicas: Vec<Endpoint>,
    /// Of the primary's configuration: grows with every failover.
    epoch: Option<u64>,
    /// Of the Sentinel.
    id: Option<Arc<str>>,
}

impl Heard {
    /// Reads the replies to `SENTINEL GET-MASTER-ADDR-BY-NAME`, `MASTER`, `REPLICAS`, `SENTINELS` and `MYID`, in this order.
    ///
    /// # Errors
    /// The Sentinel knows no primary of this name, or does not let us ask.
    pub(super) fn read(replies: &[Bytes], master_name: &Arc<str>) -> Result<Self, AskFailure> {
        let [address, master, replicas, sentinels, id] = replies else {
            return Err(AskFailure::Malformed("not as many replies as questions"));
        };
        let primary = match decode(address)? {
            BytesFrame::Error(text) => return Err(AskFailure::Refused(text.to_string())),
            BytesFrame::Null => return Err(AskFailure::UnknownMaster(master_name.to_string())),
            BytesFrame::Array(items) => match items.as_slice() {
                [host, port] => endpoint(text(host), text(port)),
                _ => None,
            },
            BytesFrame::BulkString(_) | BytesFrame::SimpleString(_) | BytesFrame::Integer(_) => {
                None
            }
        };
        let primary = primary.ok_or(AskFailure::Malformed("no address of the primary"))?;
        let master = decode(master)?;
        let mut replicas = members(&decode(replicas)?, &["s_down", "o_down", "disconnected"]);
        replicas.retain(|replica| *replica != primary);
        Ok(Self {
            primary,
            sentinels: members(&decode(sentinels)?, &[]),
            master_name: Arc::clone(master_name),
            replicas,
            epoch: field(&master, "config-epoch").and_then(|epoch| epoch.parse().ok()),
            id: text(&decode(id)?).map(Arc::from),
        })
    }

    /// `confirmed`: the primary says so, too; one that says nothing must be named by most Sentinels.
    pub(super) fn view(self, confirmed: bool) -> Result<View, AskFailure> {
        // Whoever is primary, it is the same deployment, though all addresses change.
        let primary = Member {
            endpoint: self.primary,
            id: self.master_name,
            announced: true,
        };
        let whole = ShardSpec {
            primary: Some(primary),
            replicas: self.replicas.into_iter().map(Member::at).collect(),
            ranges: vec![SlotRange::ALL],
        };
        Ok(View {
            topology: Topology::new(vec![whole]).map_err(SlotsError::Overlap)?,
            epoch: self.epoch,
            own_epoch: None,
            state_ok: Some(confirmed),
            node_id: self.id,
        })
    }
}

/// Sentinels to listen to; whoever listens takes the next when one is lost.
#[derive(Clone, Default)]
pub(super) struct Stations {
    known: Rc<RefCell<Vec<Endpoint>>>,
    turn: Rc<RefCell<usize>>,
}

impl Stations {
    pub(super) fn set(&self, known: Vec<Endpoint>) {
        *self.known.borrow_mut() = known;
    }

    fn next(&self) -> Option<Endpoint> {
        let known = self.known.borrow();
        let mut turn = self.turn.borrow_mut();
        *turn += 1;
        known.get(turn.checked_rem(known.len())?).cloned()
    }
}

/// Listens to one Sentinel after the other, and tells when it says that there is another primary. Never ends.
pub(super) async fn listen(
    stations: Stations,
    dialer: Dialer,
    patience: Duration,
    master_name: Arc<str>,
    news: mpsc::Sender<Hint>,
) {
    let mut random = Random::from_system();
    loop {
        if let Some(station) = stations.next() {
            dialer.turn().await;
            let why = listen_to(&station, &dialer, patience, &master_name, &news).await;
            tracing::debug!(node = %station, error = %why, "a Sentinel is not listened to any more");
        }
        sleep(random.between(RETRY_MIN, RETRY_MAX)).await;
    }
}

/// Returns why it has ended.
async fn listen_to(
    station: &Endpoint,
    dialer: &Dialer,
    patience: Duration,
    master_name: &str,
    news: &mpsc::Sender<Hint>,
) -> AskFailure {
    let questions = NEWS.map(|channel| ["SUBSCRIBE", channel]);
    let questions = questions.each_ref().map(<[_; 2]>::as_slice);
    let mut wire = match dialer.ask(station, patience, &questions).await {
        Ok((wire, _subscribed)) => wire,
        Err(why) => return why,
    };
    loop {
        match wire.next().await.and_then(|push| decode(&push)) {
            // A full queue: a refresh is due anyway.
            Ok(push) if is_about(&push, master_name) => drop(news.try_send(Hint::Announced)),
            Ok(_) => {}
            Err(why) => return why,
        }
    }
}

/// Whether a message is about this primary: `<name> <old host> <old port> <new host> <new port>`, or
/// `slave <name> <host> <port> @ <name of the primary> <host> <port>`.
fn is_about(push: &BytesFrame, master_name: &str) -> bool {
    let BytesFrame::Array(items) = push else {
        return false;
    };
    let payload = items.last().and_then(text).unwrap_or_default();
    payload.split(' ').any(|word| word == master_name)
}

/// The endpoints in an array of flat maps, without those that have one of these flags.
fn members(reply: &BytesFrame, without: &[&str]) -> Vec<Endpoint> {
    let BytesFrame::Array(items) = reply else {
        return Vec::new();
    };
    let is_wanted = |item: &&BytesFrame| {
        let mut flags = field(item, "flags").unwrap_or_default().split(',');
        !flags.any(|flag| without.contains(&flag))
    };
    let wanted = items.iter().filter(is_wanted);
    let found = wanted.filter_map(|item| endpoint(field(item, "ip"), field(item, "port")));
    found.take(MEMBERS_MAX).collect()
}

/// The value behind a name in a flat map.
fn field<'a>(map: &'a BytesFrame, name: &str) -> Option<&'a str> {
    let BytesFrame::Array(items) = map else {
        return None;
    };
    let mut pairs = items.chunks_exact(2);
    pairs.find_map(|pair| match pair {
        [key, value] if text(key) == Some(name) => text(value),
        _ => None,
    })
}

fn endpoint(host: Option<&str>, port: Option<&str>) -> Option<Endpoint> {
    let host = host.filter(|host| is_host(host))?;
    let port = port?.parse().ok().filter(|port| *port != 0)?;
    Some(Endpoint::new(host, port))
}

/// Between two attempts to listen.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Replicas of one primary, and Sentinels of one, that are taken note of.
const MEMBERS_MAX: usize = 64;

/// When all have been told of a new primary, and before that, when the Sentinel that leads the failover has seen it: the old one goes on taking writes that
/// are lost until it is left. Source: "Sentinel API, Pub/Sub messages" in the servers' documentation.
const NEWS: [&str; 2] = ["+switch-master", "+promoted-slave"];

/// Sentinels that are listened to at the same time: the one that leads should be among them, and there are mostly three.
pub(super) const STATIONS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(words: &[&str]) -> String {
        let items: Vec<String> = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()))
            .collect();
        format!("*{}\r\n{}", words.len(), items.concat())
    }

    fn replies(address: &str, master: &str) -> Vec<Bytes> {
        let up = bulk(&["ip", "10.0.0.2", "port", "6379", "flags", "slave"]);
        let down = bulk(&["ip", "10.0.0.3", "port", "6379", "flags", "s_down,slave"]);
        let other = bulk(&["ip", "10.0.0.9", "port", "26379", "flags", "sentinel"]);
        let replicas = format!("*2\r\n{up}{down}");
        let sentinels = format!("*1\r\n{other}");
        [address, master, &replicas, &sentinels, "$2\r\nid\r\n"]
            .map(|reply| Bytes::copy_from_slice(reply.as_bytes()))
            .to_vec()
    }

    fn read(address: &str) -> Result<Heard, AskFailure> {
        let master = bulk(&["name", "m", "config-epoch", "7"]);
        Heard::read(&replies(address, &master), &"m".into())
    }

    #[test]
    fn a_sentinel_names_the_primary_the_replicas_that_are_up_and_the_others() {
        let heard = read(&bulk(&["10.0.0.1", "6379"])).unwrap();
        assert_eq!(heard.sentinels, [Endpoint::new("10.0.0.9", 26379)]);
        let view = heard.view(true).unwrap();
        let nodes: Vec<String> = (view.topology.nodes().iter())
            .map(|node| node.endpoint.to_string())
            .collect();
        assert_eq!(nodes, ["10.0.0.1:6379", "10.0.0.2:6379"]);
        assert_eq!((view.epoch, view.state_ok), (Some(7), Some(true)));
        assert_eq!(
            (view.topology.uncovered(), view.node_id.as_deref()),
            (0, Some("id"))
        );
    }

    #[test]
    fn a_sentinel_that_cannot_help_says_why() {
        for (address, expected) in [
            ("*-1\r\n", AskFailure::UnknownMaster("m".into())),
            ("-NOAUTH no\r\n", AskFailure::Refused("NOAUTH no".into())),
            (":1\r\n", AskFailure::Malformed("no address of the primary")),
            (
                &bulk(&["10.0.0.1", "0"]),
                AskFailure::Malformed("no address of the primary"),
            ),
        ] {
            assert_eq!(read(address).err(), Some(expected), "{address}");
        }
    }

    #[test]
    fn only_an_announcement_of_this_name_is_news() {
        let push =
            |payload: &str| decode(&bulk(&["message", "+switch-master", payload]).into()).unwrap();
        assert!(is_about(&push("m 10.0.0.1 1 10.0.0.2 1"), "m"));
        assert!(!is_about(&push("mm 10.0.0.1 1 10.0.0.2 1"), "m"));
        assert!(!is_about(&BytesFrame::Null, "m"));
    }
}
