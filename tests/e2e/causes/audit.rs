//! An app that is not made for a cluster, before one server with an audit.

use crate::audit::{REFUSED, SHOP, SORTS, totals};
use crate::audit_script;
use crate::shown::{Samples, Shown};
use crate::support::{Server, ServerKind};

causes! {
    real an_app_that_is_not_made_for_a_cluster {
        "+slotcar_audited_requests_total"
        "+slotcar_audit_requests_total finding=cross_slot"
        "+slotcar_audit_requests_total finding=cross_slot_script"
        "+slotcar_audit_requests_total finding=cross_slot_transaction"
        "+slotcar_audit_requests_total finding=transaction_over_nodes"
        "+slotcar_audit_requests_total finding=sort_by_pattern"
        "+slotcar_audit_requests_total finding=other_database"
        "+slotcar_audit_requests_total finding=not_served"
        "+slotcar_audit_requests_total finding=script_without_keys"
        "+slotcar_audit_requests_total finding=split"
        "+slotcar_audit_requests_total finding=waits_over_slots"
        "+slotcar_audit_requests_total finding=every_node"
    }
}

fn an_app_that_is_not_made_for_a_cluster(kind: ServerKind) -> Vec<Samples> {
    let server = Server::start_plain(kind);
    let url = format!("redis://{}", server.addr());
    let shown = Shown::start(&["--upstream", &url, "--audit", "on"]);
    let before = shown.metrics();
    let script = audit_script::read(&[SHOP, SORTS, REFUSED].join("\n"));
    crate::audit::run(&shown.slotcar, &script);
    let after = shown.metrics();
    let requests = "slotcar_audited_requests_total";
    let looked_at = after.grown(&before, requests);
    assert_eq!(looked_at, script.len() as f64);
    for (finding, count) in totals(&script) {
        let made = after.sum(&format!("slotcar_audit_requests_total finding={finding}"));
        assert_eq!(made, count as f64, "{finding}");
    }
    vec![before, after]
}
