//! Watches the replicas of a primary that does not answer: which of them is a primary now? Pure.
//!
//! A scout asks one tiny question about ten times a second, on a connection that stays open, so that the one large
//! question about the topology is asked in the moment when it has a new answer. Invariant: at most `POSTS_MAX` are asked, each
//! has at most one question that is unanswered, and each brings the news once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::random::Random;
use crate::clock::Now;
use crate::topology::{Endpoint, Node, Topology};

pub(super) struct Scouts {
    random: Random,
    posts: Vec<Post>,
}

/// A replica that is watched.
struct Post {
    replica: Endpoint,
    question: Question,
    /// The latest epoch that was known when the watch began, or that was news since.
    epoch: u64,
    since: Now,
    /// `None`: it has been asked and has not answered.
    ask_at: Option<Now>,
    /// Questions without an answer in a row.
    misses: u32,
    is_news_over: bool,
}

/// What a replica is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// `ROLE`: nothing costs a node less.
    Role,
    /// `CLUSTER INFO`: for users who may not ask for the role.
    Epoch,
}

/// What a replica said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Primary,
    Replica,
    /// The epoch of its shard's last election.
    Epoch(u64),
    /// It does not let us ask.
    Refused,
    Nothing,
}

impl Scouts {
    pub(super) fn new(random: Random) -> Self {
        Self {
            random,
            posts: Vec::new(),
        }
    }

    /// Watches the replicas of these suspects, and nobody else. `epoch`: the latest that is known.
    pub(super) fn watch(
        &mut self,
        now: Now,
        topology: &Topology,
        suspects: &BTreeSet<Endpoint>,
        epoch: u64,
    ) {
        let node = |index: usize| topology.nodes().get(index);
        let is_suspect = |node: &Node| suspects.contains(&node.endpoint);
        let shards = topology.shards().iter();
        let troubled = shards.filter(|shard| shard.primary.and_then(node).is_some_and(is_suspect));
        let replicas = troubled.flat_map(|shard| shard.replicas.iter().filter_map(|at| node(*at)));
        let mut before = std::mem::take(&mut self.posts);
        for replica in replicas.take(POSTS_MAX) {
            let place = before
                .iter()
                .position(|post| post.replica == replica.endpoint);
            let post = place.map(|place| before.swap_remove(place));
            let post = post.unwrap_or_else(|| Post {
                replica: replica.endpoint.clone(),
                question: Question::Role,
                epoch,
                since: now,
                ask_at: Some(now + self.random.between(Duration::ZERO, GAP_MAX)),
                misses: 0,
                is_news_over: false,
            });
            self.posts.push(post);
        }
    }

    /// The questions that are due. Each must be answered with [`Self::on_answer`].
    pub(super) fn take_due(&mut self, now: Now) -> Vec<(Endpoint, Question)> {
        let is_due = |post: &&mut Post| post.ask_at.is_some_and(|at| at <= now);
        let due = self.posts.iter_mut().filter(is_due);
        due.map(|post| {
            post.ask_at = None;
            (post.replica.clone(), post.question)
        })
        .collect()
    }

    /// Returns whether this is the news: it has become a primary.
    pub(super) fn on_answer(&mut self, now: Now, from: &Endpoint, said: Said) -> bool {
        let Self { random, posts } = self;
        let Some(post) = posts.iter_mut().find(|post| post.replica == *from) else {
            return false;
        };
        post.misses = match said {
            Said::Nothing => post.misses.saturating_add(1),
            Said::Primary | Said::Replica | Said::Epoch(_) => 0,
            // What it refuses once, it will refuse again.
            Said::Refused if post.question == Question::Epoch => PATIENCE_MISSES,
            Said::Refused => 0,
        };
        let is_news = match said {
            Said::Primary => !std::mem::replace(&mut post.is_news_over, true),
            Said::Epoch(epoch) => {
                let before = post.epoch;
                post.epoch = before.max(epoch);
                epoch > before
            }
            Said::Refused => {
                post.question = Question::Epoch;
                false
            }
            Said::Replica | Said::Nothing => false,
        };
        let lasts = now.since(post.since) > FRESH;
        let growth = if lasts { PATIENCE } else { 1 } * 2_u32.saturating_pow(post.misses.min(8));
        let most = GAP_MAX.saturating_mul(growth).min(PAUSE_MAX);
        post.ask_at = Some(now + random.between(most / 3, most));
        is_news
    }

    /// When [`Self::take_due`] has something to give.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.posts.iter().filter_map(|post| post.ask_at).min()
    }
}

/// Replicas that are watched at the same time: shards that fail together, times their replicas.
const POSTS_MAX: usize = 16;

/// Most time between two questions to one replica, a third of it the least: ten questions per second.
const GAP_MAX: Duration = Duration::from_millis(150);

/// Trouble that lasts longer is no failover: with the default node timeout of 15 s one takes 17 s.
const FRESH: Duration = Duration::from_secs(25);

/// Then there is this much more time between questions.
const PATIENCE: u32 = 10;

/// Counts as so many misses: at most a question in two seconds.
const PATIENCE_MISSES: u32 = 8;

/// Most time between two questions, whatever happened.
const PAUSE_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::refresh::tests::{Layout, cluster};

    const SHARDS: Layout<'_> = &[("a", &["b", "c"]), ("d", &["e"])];

    fn at(host: &str) -> Endpoint {
        Endpoint::new(host, 1)
    }

    fn millis(millis: u64) -> Now {
        Now::at(Duration::from_millis(millis))
    }

    fn watching(suspects: &[&str]) -> Scouts {
        let mut scouts = Scouts::new(Random::new(1));
        let suspects = suspects.iter().map(|host| at(host)).collect();
        scouts.watch(Now::ZERO, &cluster(SHARDS), &suspects, 7);
        scouts
    }

    /// Answers everything for `time`; returns how often each was asked and what was news.
    fn run(
        scouts: &mut Scouts,
        (from, to): (u64, u64),
        answer: impl Fn(u64, &Endpoint, Question) -> Said,
    ) -> (Vec<Endpoint>, Vec<(u64, Endpoint)>) {
        let (mut asked, mut news) = (Vec::new(), Vec::new());
        for ms in from..to {
            for (replica, question) in scouts.take_due(millis(ms)) {
                let said = answer(ms, &replica, question);
                if scouts.on_answer(millis(ms), &replica, said) {
                    news.push((ms, replica.clone()));
                }
                asked.push(replica);
            }
        }
        (asked, news)
    }

    #[test]
    fn only_replicas_of_suspects_are_asked_about_ten_times_a_second() {
        for (suspects, watched) in [
            (&[][..], &[][..]),
            (&["d"], &["e"]),
            (&["x"], &[]),
            (&["b"], &[]),
        ] {
            let mut scouts = watching(suspects);
            let (asked, news) = run(&mut scouts, (0, 10_000), |_, _, _| Said::Replica);
            assert_eq!(news, []);
            assert!(asked.iter().all(|node| watched.contains(&&*node.host)));
            for host in watched {
                let times = asked.iter().filter(|node| *node.host == **host).count();
                assert!((80..=125).contains(&times), "{host}: {times} in 10 s");
            }
            assert_eq!(scouts.deadline().is_none(), watched.is_empty());
        }
    }

    #[test]
    fn who_has_become_primary_is_news_once_and_within_the_gap() {
        let mut scouts = watching(&["d"]);
        let (_, news) = run(&mut scouts, (0, 10_000), |ms, _, _| match ms {
            0..4000 => Said::Replica,
            _ => Said::Primary,
        });
        assert_eq!(news.len(), 1);
        assert!((4000..=4150).contains(&news[0].0), "{news:?}");
    }

    #[test]
    fn a_user_who_may_not_ask_for_the_role_sees_it_in_the_epoch() {
        let mut scouts = watching(&["d"]);
        let (_, news) = run(&mut scouts, (0, 10_000), |ms, _, question| {
            match (question, ms) {
                (Question::Role, _) => Said::Refused,
                (Question::Epoch, 0..4000) => Said::Epoch(3),
                (Question::Epoch, _) => Said::Epoch(8),
            }
        });
        assert_eq!(news.len(), 1);
        assert!((4000..=4150).contains(&news[0].0), "{news:?}");
    }

    #[test]
    fn the_silent_the_unwilling_and_lasting_trouble_are_asked_ever_less() {
        for (said, most) in [(Said::Nothing, 12), (Said::Refused, 12)] {
            let mut scouts = watching(&["d"]);
            let (asked, _) = run(&mut scouts, (0, 10_000), |_, _, _| said);
            assert!(
                (4..=most).contains(&asked.len()),
                "{said:?}: {}",
                asked.len()
            );
        }
        let mut scouts = watching(&["d"]);
        run(&mut scouts, (0, 60_000), |_, _, _| Said::Replica);
        let (asked, _) = run(&mut scouts, (60_000, 70_000), |_, _, _| Said::Replica);
        assert!(asked.len() <= 20, "{}", asked.len());
    }

    #[test]
    fn a_watch_goes_on_when_others_begin_and_ends_with_the_suspicion() {
        let mut scouts = watching(&["d"]);
        let asked = scouts.take_due(millis(150));
        assert_eq!(asked.len(), 1);
        let suspects = ["a", "d"].map(at).into();
        scouts.watch(millis(150), &cluster(SHARDS), &suspects, 7);
        let due: Vec<Endpoint> = scouts
            .take_due(millis(400))
            .into_iter()
            .map(|(replica, _)| replica)
            .collect();
        assert_eq!(due, [at("b"), at("c")], "e has not answered yet");
        scouts.watch(millis(150), &cluster(SHARDS), &BTreeSet::new(), 7);
        assert_eq!(scouts.deadline(), None);
        assert!(!scouts.on_answer(millis(200), &at("e"), Said::Primary));
    }
}
