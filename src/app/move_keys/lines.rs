//! Asks about many keys at a time: each goes to the node that has it, and on to where that sends it.
//!
//! What is sent again because nobody knows what came of it is marked. Knows nothing of what is asked.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::failure::{Failure, passing};
use super::job::{Answer, Job, Next, judge};
use super::side::{Side, Trouble};
use crate::control::{AskFailure, Hint, Wire};
use crate::resp::write;
use crate::topology::Endpoint;

/// Connections to the nodes of one side, for one who asks.
pub(super) struct Lines {
    pub(super) side: Rc<Side>,
    wires: HashMap<Endpoint, Wire>,
}

/// Jobs for one node, and whether each is an exception there (`ASKING`).
type Group = Vec<(usize, bool)>;

/// What came of a [`Group`], and the connection, if it is still good.
struct Sent {
    node: Endpoint,
    group: Group,
    replies: Result<(Wire, Vec<Bytes>), AskFailure>,
}

/// Jobs on their way to their answers.
struct Round {
    answers: Vec<Option<Answer>>,
    /// What was sent before, and not answered.
    again: Vec<bool>,
    /// What is to be asked, and where if a node has said so.
    open: Vec<(usize, Option<(Endpoint, bool)>)>,
    trouble: Trouble,
}

impl Lines {
    pub(super) fn new(side: Rc<Side>) -> Self {
        Self {
            side,
            wires: HashMap::new(),
        }
    }

    /// Asks all of it, wherever the keys are by now. `confirm`: it is written, and is to outlive the node that has it.
    ///
    /// # Errors
    /// Nobody who could be reached for long has answered, or one has refused.
    pub(super) async fn ask(
        &mut self,
        jobs: &[Job],
        confirm: bool,
    ) -> Result<Vec<Answer>, Failure> {
        let mut round = Round {
            answers: jobs.iter().map(|_| None).collect(),
            again: vec![false; jobs.len()],
            open: (0..jobs.len()).map(|at| (at, None)).collect(),
            trouble: Trouble::default(),
        };
        while !round.open.is_empty() {
            let groups = self.group(jobs, &mut round);
            for sent in self.send(jobs, groups, confirm).await {
                self.take(jobs, sent, &mut round)?;
            }
            if !round.open.is_empty() {
                self.side.pause(&mut round.trouble).await?;
            }
        }
        Ok(round.answers.into_iter().flatten().collect())
    }

    /// What one node has said to its part.
    fn take(&mut self, jobs: &[Job], sent: Sent, round: &mut Round) -> Result<(), Failure> {
        let Sent {
            node,
            group,
            replies,
        } = sent;
        let (wire, replies) = match replies {
            Ok(answered) => answered,
            Err(why) => {
                for (at, _) in group {
                    round.open.push((at, None));
                    if let Some(again) = round.again.get_mut(at) {
                        *again = true;
                    }
                }
                return self.on_failure(&node, why, &mut round.trouble);
            }
        };
        self.wires.insert(node.clone(), wire);
        let mut replies = replies.into_iter();
        for (at, _) in group {
            let count = jobs.get(at).map_or(0, |job| job.replies);
            let replies: Vec<Bytes> = replies.by_ref().take(count).collect();
            match judge(&node, &replies) {
                Next::Done => {
                    round.trouble.since = None;
                    let answer = Answer {
                        node: node.clone(),
                        replies,
                        again: round.again.get(at).is_some_and(|again| *again),
                    };
                    if let Some(place) = round.answers.get_mut(at) {
                        *place = Some(answer);
                    }
                }
                Next::Elsewhere { node: to, asking } => {
                    self.on_redirect(jobs.get(at), &to, asking);
                    round.trouble.what = format!("{node} sends us to {to}");
                    round.open.push((at, Some((to, asking))));
                }
                Next::Later(what) => {
                    self.side.hint(Hint::Refused(node.clone()));
                    round.trouble.what = what;
                    round.open.push((at, None));
                }
            }
        }
        Ok(())
    }

    fn on_redirect(&self, job: Option<&Job>, to: &Endpoint, asking: bool) {
        if let Some(job) = job.filter(|_| !asking) {
            let slot = self.side.keyspace.slot(&job.key);
            let to = to.clone();
            self.side.hint(Hint::Moved { slot, to });
        }
    }

    /// What time may mend, and what it may not.
    fn on_failure(
        &self,
        node: &Endpoint,
        why: AskFailure,
        trouble: &mut Trouble,
    ) -> Result<(), Failure> {
        trouble.what = passing(node, why)?;
        self.side.hint(Hint::LinkLost(node.clone()));
        Ok(())
    }

    /// Who is to be asked what. What has to wait, because nobody is known to have its slot, stays open.
    fn group(&self, jobs: &[Job], round: &mut Round) -> HashMap<Endpoint, Group> {
        let topology = self.side.topology();
        let mut groups: HashMap<Endpoint, Group> = HashMap::new();
        for (at, sent_to) in std::mem::take(&mut round.open) {
            let owner = || {
                let slot = self.side.keyspace.slot(&jobs.get(at)?.key);
                Some((topology.owner_node(slot)?.endpoint.clone(), false))
            };
            match sent_to.or_else(owner) {
                Some((node, asking)) => groups.entry(node).or_default().push((at, asking)),
                None => {
                    "a slot is served by nobody".clone_into(&mut round.trouble.what);
                    round.open.push((at, None));
                }
            }
        }
        groups
    }

    /// Asks several nodes at the same time.
    async fn send(
        &mut self,
        jobs: &[Job],
        groups: HashMap<Endpoint, Group>,
        confirm: bool,
    ) -> Vec<Sent> {
        let topology = self.side.topology();
        let mut tasks = JoinSet::new();
        for (node, group) in groups {
            let (mut requests, mut replies) = (Vec::new(), 0);
            for (at, asking) in &group {
                let Some(job) = jobs.get(*at) else { continue };
                if *asking {
                    write::command(&mut requests, &["ASKING"]);
                }
                requests.extend_from_slice(&job.requests);
                replies += job.replies + usize::from(*asking);
            }
            let has_replicas = topology
                .index_of(&node)
                .and_then(|at| topology.nodes().get(at))
                .and_then(|node| topology.shards().get(node.shard))
                .is_some_and(|shard| !shard.replicas.is_empty());
            let (side, wire) = (Rc::clone(&self.side), self.wires.remove(&node));
            let counts: Vec<(usize, bool)> = group
                .iter()
                .map(|(at, asking)| (jobs.get(*at).map_or(0, |job| job.replies), *asking))
                .collect();
            tasks.spawn_local(async move {
                let confirm = confirm && has_replicas;
                let answer = side.send(&node, wire, &requests, replies, confirm).await;
                let replies =
                    answer.map(|(wire, replies)| (wire, without_asking(replies, &counts)));
                Sent {
                    node,
                    group,
                    replies,
                }
            });
        }
        tasks.join_all().await
    }
}

/// Leaves out what was said to `ASKING`.
fn without_asking(replies: Vec<Bytes>, counts: &[(usize, bool)]) -> Vec<Bytes> {
    let mut replies = replies.into_iter();
    let mut kept = Vec::with_capacity(replies.len());
    for (count, asking) in counts {
        if *asking {
            replies.next();
        }
        kept.extend(replies.by_ref().take(*count));
    }
    kept
}
