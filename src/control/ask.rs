//! Asks nodes: opens wires, and keeps them open while there is trouble, so that asking often does not mean dialling often.
//!
//! Invariant: at most `KEPT_MAX` wires are kept, only to known nodes, and none once [`Asker::calm`] has been called.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;

use super::decide::View;
use super::facts::{ClusterInfo, text};
use super::scout::{Question, Said};
use super::wire::{Dialer, Wire, decode, within};
use super::{AskFailure, SourceKind, sentinel};
use crate::topology::{
    Endpoint, Member, SLOT_COUNT, ShardSpec, SlotRange, SlotsError, Topology, parse_cluster_slots,
};

pub(super) struct Asker {
    kind: Kind,
    dialer: Dialer,
    /// For one node: connecting and answering.
    patience: Duration,
    kept: RefCell<Vec<(Endpoint, Wire)>>,
    /// Sentinels that the last one has named.
    pub(super) sentinels: RefCell<Vec<Endpoint>>,
    /// The primary in use: whether it is there is the probe's to say.
    pub(super) primary: RefCell<Option<Endpoint>>,
}

/// Who is asked for the topology.
enum Kind {
    Node,
    Sentinel {
        master_name: Arc<str>,
        dialer: Box<Dialer>,
    },
    Server,
}

impl Asker {
    pub(super) fn new(kind: &SourceKind, dialer: Dialer, patience: Duration) -> Self {
        let kind = match kind {
            SourceKind::Cluster => Kind::Node,
            SourceKind::Sentinel {
                master_name,
                credentials,
                tls,
            } => Kind::Sentinel {
                master_name: Arc::clone(master_name),
                dialer: Box::new(dialer.for_others(credentials.clone(), tls.clone())),
            },
            SourceKind::Server => Kind::Server,
        };
        Self {
            kind,
            dialer,
            sentinels: RefCell::default(),
            primary: RefCell::default(),
            patience,
            kept: RefCell::default(),
        }
    }

    /// Everything that a seed or a node can say about the topology. `keep`: more questions will follow soon.
    pub(super) async fn view(&self, of: &Endpoint, keep: bool) -> Result<View, AskFailure> {
        match &self.kind {
            Kind::Node => self.view_of_node(of, keep).await,
            Kind::Sentinel {
                master_name,
                dialer,
            } => {
                let name = &**master_name;
                let questions: [&[&str]; 5] = [
                    &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name],
                    &["SENTINEL", "MASTER", name],
                    &["SENTINEL", "REPLICAS", name],
                    &["SENTINEL", "SENTINELS", name],
                    &["SENTINEL", "MYID"],
                ];
                let replies = self.exchange(dialer, of, &questions, keep).await?;
                let heard = sentinel::Heard::read(&replies, master_name)?;
                let is_in_use = self.primary.borrow().as_ref() == Some(&heard.primary);
                let is_primary = is_in_use || self.confirms(&heard.primary, keep).await?;
                self.sentinels.replace(heard.sentinels.clone());
                heard.view(is_primary)
            }
            Kind::Server => {
                let replies = self.exchange(&self.dialer, of, &[&["PING"]], keep).await?;
                let reply = replies.first().map(decode).transpose()?;
                match reply {
                    Some(BytesFrame::Error(text)) => Err(AskFailure::Refused(text.to_string())),
                    Some(_) | None => server_view(of),
                }
            }
        }
    }

    /// Whether a node says of itself that it is a primary. False: it says nothing.
    ///
    /// # Errors
    /// It says that it is none.
    async fn confirms(&self, primary: &Endpoint, keep: bool) -> Result<bool, AskFailure> {
        let replies = self
            .exchange(&self.dialer, primary, &[&["ROLE"]], keep)
            .await;
        let reply = replies.map(|replies| replies.first().map(decode).transpose());
        match reply {
            // It does not let us ask, or is loading.
            Err(AskFailure::Refused(_)) | Ok(Ok(Some(BytesFrame::Error(_)))) => Ok(true),
            Err(_) | Ok(Err(_) | Ok(None)) => Ok(false),
            Ok(Ok(Some(role))) => match said_of_role(&role) {
                Said::Replica => Err(AskFailure::NotPrimary(primary.to_string())),
                Said::Primary | Said::Epoch(_) | Said::Refused | Said::Nothing => Ok(true),
            },
        }
    }

    async fn view_of_node(&self, node: &Endpoint, keep: bool) -> Result<View, AskFailure> {
        let questions: [&[&str]; 3] = [
            &["CLUSTER", "SLOTS"],
            &["CLUSTER", "INFO"],
            &["CLUSTER", "MYID"],
        ];
        let replies = self.exchange(&self.dialer, node, &questions, keep).await?;
        let [slots, cluster_info, my_id] = replies.as_slice() else {
            return Err(AskFailure::Malformed("not as many replies as questions"));
        };
        let topology = parse_cluster_slots(&decode(slots)?, node)?;
        if topology.uncovered() == SLOT_COUNT {
            return Err(AskFailure::NoSlots);
        }
        let ClusterInfo {
            epoch,
            own_epoch,
            state_ok,
        } = ClusterInfo::from_reply(&decode(cluster_info)?);
        let node_id = text(&decode(my_id)?).map(Arc::from);
        Ok(View {
            topology,
            epoch,
            own_epoch,
            state_ok,
            node_id,
        })
    }

    /// What a replica is now.
    pub(super) async fn scout(&self, replica: &Endpoint, question: Question) -> Said {
        let request: &[&str] = match question {
            Question::Role => &["ROLE"],
            Question::Epoch => &["CLUSTER", "INFO"],
        };
        let replies = self.exchange(&self.dialer, replica, &[request], true).await;
        let reply = replies.and_then(|replies| match replies.as_slice() {
            [reply] => decode(reply),
            _ => Err(AskFailure::Malformed("not one reply")),
        });
        match (reply, question) {
            (Err(AskFailure::Refused(_)) | Ok(BytesFrame::Error(_)), _) => Said::Refused,
            (Err(_why), _) => Said::Nothing,
            (Ok(reply), Question::Role) => said_of_role(&reply),
            (Ok(reply), Question::Epoch) => {
                let epoch = ClusterInfo::from_reply(&reply).own_epoch;
                epoch.map_or(Said::Refused, Said::Epoch)
            }
        }
    }

    /// The trouble is over: nobody is asked soon.
    pub(super) fn calm(&self) {
        self.kept.borrow_mut().clear();
    }

    /// Whether there is something for [`Self::calm`] to do.
    pub(super) fn keeps_any(&self) -> bool {
        !self.kept.borrow().is_empty()
    }

    async fn exchange(
        &self,
        dialer: &Dialer,
        node: &Endpoint,
        requests: &[&[&str]],
        keep: bool,
    ) -> Result<Vec<Bytes>, AskFailure> {
        if let Some(mut wire) = self.take_kept(node) {
            match within(self.patience, wire.ask(requests)).await {
                Ok(replies) => {
                    self.keep(node, wire, keep);
                    return Ok(replies);
                }
                // The node may have closed it at any time since: that says nothing yet.
                Err(AskFailure::Closed(_)) => {}
                Err(why) => return Err(why),
            }
        }
        dialer.turn().await;
        let (wire, replies) = dialer.ask(node, self.patience, requests).await?;
        self.keep(node, wire, keep);
        Ok(replies)
    }

    fn take_kept(&self, node: &Endpoint) -> Option<Wire> {
        let mut kept = self.kept.borrow_mut();
        let place = kept.iter().position(|(of, _)| of == node)?;
        Some(kept.swap_remove(place).1)
    }

    fn keep(&self, node: &Endpoint, wire: Wire, keep: bool) {
        let mut kept = self.kept.borrow_mut();
        if keep && kept.len() < KEPT_MAX {
            kept.push((node.clone(), wire));
        }
    }
}

/// The only server serves everything, whatever it is.
fn server_view(server: &Endpoint) -> Result<View, AskFailure> {
    let whole = ShardSpec {
        primary: Some(Member::at(server.clone())),
        replicas: Vec::new(),
        ranges: vec![SlotRange::ALL],
    };
    let topology = Topology::new(vec![whole]).map_err(SlotsError::Overlap)?;
    Ok(View {
        topology,
        epoch: None,
        own_epoch: None,
        state_ok: None,
        node_id: None,
    })
}

fn said_of_role(reply: &BytesFrame) -> Said {
    let role = match reply {
        BytesFrame::Array(items) => items.first().and_then(text),
        BytesFrame::BulkString(_)
        | BytesFrame::SimpleString(_)
        | BytesFrame::Error(_)
        | BytesFrame::Integer(_)
        | BytesFrame::Null => None,
    };
    match role {
        Some("master") => Said::Primary,
        Some(_) => Said::Replica,
        None => Said::Nothing,
    }
}

/// One for each scout, and a few for rounds, which may ask the same nodes; beyond that asking costs dials.
const KEPT_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_of_a_node_is_the_first_word_of_its_answer() {
        let bulk = |text: &'static str| BytesFrame::BulkString(Bytes::from_static(text.as_bytes()));
        for (reply, expected) in [
            (
                BytesFrame::Array(vec![bulk("master"), BytesFrame::Integer(1)]),
                Said::Primary,
            ),
            (BytesFrame::Array(vec![bulk("slave")]), Said::Replica),
            (BytesFrame::Array(vec![]), Said::Nothing),
            (bulk("master"), Said::Nothing),
        ] {
            assert_eq!(said_of_role(&reply), expected, "{reply:?}");
        }
    }
}
