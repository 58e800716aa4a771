//! One at a time: two that rename could each take the other's copy back.

use std::time::Duration;

use tokio::time::sleep;

use super::failure::Failure;
use super::side::Side;
use crate::clock::now;
use crate::control::Wire;

/// Sees to it that nobody else renames keys here. As long as the connections are there, others see us.
pub(super) async fn be_alone(side: &Side) -> Result<Vec<Wire>, Failure> {
    let start = now();
    let mut anchors = Vec::new();
    for node in side.topology().primary_nodes() {
        let closed = |why| Failure::Closed {
            node: node.endpoint.clone(),
            why,
        };
        let mut wire = side.dial(&node.endpoint).await.map_err(closed)?;
        loop {
            let replies = wire.ask(&[&["CLIENT", "LIST"]]).await.map_err(closed)?;
            // Who may not ask has to know himself.
            let clients = replies
                .first()
                .map(|reply| String::from_utf8_lossy(reply).into_owned());
            if !clients.is_some_and(|clients| has_others(&clients, side.client_name())) {
                break;
            }
            // One that was killed may still be listed.
            if now().since(start) > LISTED_AT_MOST {
                return Err(Failure::NotAlone(node.endpoint.clone()));
            }
            sleep(LISTED_CHECK).await;
        }
        anchors.push(wire);
    }
    Ok(anchors)
}

fn has_others(clients: &str, own: &str) -> bool {
    let names = clients
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("name="));
    names
        .into_iter()
        .any(|name| name.starts_with(OUR_NAME) && name != own)
}

/// What connections of those that rename are called.
pub(super) const OUR_NAME: &str = "slotcar-move-keys-";

/// How long a server may list a client whose process is gone: as long as it needs to read from its socket.
const LISTED_AT_MOST: Duration = Duration::from_secs(5);
const LISTED_CHECK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_seen_among_clients() {
        let clients =
            "id=1 name= db=0\nid=2 name=slotcar-move-keys-a age=1\nid=3 name=slotcar db=0\n";
        assert!(!has_others(clients, "slotcar-move-keys-a"));
        assert!(has_others(clients, "slotcar-move-keys-b"));
    }
}
