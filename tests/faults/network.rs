//! A network of two ends: slotcar lives in a namespace of its own, the nodes have addresses at this end. So the way to
//! one node can be cut, without a word to anybody, while all nodes still reach each other.
//!
//! The cut is a route: inside the namespace what goes to the node's address goes nowhere, and what comes from there is
//! dropped because answers would not go back that way (`rp_filter`).

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

pub struct Network {
    name: String,
    /// Of the namespace's end.
    pub inside: IpAddr,
    subnet: [u8; 3],
}

impl Network {
    /// With `hosts` addresses at this end.
    ///
    /// # Errors
    /// Why this is not possible here.
    pub fn new(hosts: u8) -> Result<Network, String> {
        // `run.sh` chooses the name, so that it can remove what a killed run leaves behind.
        let name = std::env::var("FAULTS_NETWORK");
        let name = name.unwrap_or_else(|_| format!("sc{}", std::process::id()));
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let subnet = [10, 128 | high, low];
        let network = Network {
            inside: host_of(subnet, INSIDE),
            name,
            subnet,
        };
        network.build(hosts)?;
        Ok(network)
    }

    /// The address of node `index`.
    pub fn host(&self, index: u8) -> IpAddr {
        host_of(self.subnet, FIRST_HOST + index)
    }

    /// Words in front of a command that is to run in there.
    pub fn within(&self) -> [&str; 4] {
        ["ip", "netns", "exec", &self.name]
    }

    pub fn cut(&self, host: IpAddr) {
        self.route("add", host).expect("a route");
    }

    pub fn mend(&self, host: IpAddr) {
        self.route("del", host).expect("the same route");
    }

    fn route(&self, verb: &str, host: IpAddr) -> Result<(), String> {
        let target = format!("{host}/32");
        ip(&["-n", &self.name, "route", verb, &target, "dev", "lo"])
    }

    fn build(&self, hosts: u8) -> Result<(), String> {
        let name = self.name.as_str();
        let (outer, inner) = (format!("{name}o"), format!("{name}i"));
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", &outer, "type", "veth", "peer", "name", &inner, "netns", name,
        ])?;
        // What connects from this end has the first address of the link: no node's, so that a cut concerns no client.
        let own = format!("{}/24", host_of(self.subnet, OUTSIDE));
        ip(&["addr", "add", &own, "dev", &outer])?;
        for index in 0..hosts {
            let address = format!("{}/24", self.host(index));
            ip(&["addr", "add", &address, "dev", &outer])?;
        }
        let address = format!("{}/24", self.inside);
        ip(&["-n", name, "addr", "add", &address, "dev", &inner])?;
        ip(&["link", "set", &outer, "up"])?;
        ip(&["-n", name, "link", "set", &inner, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        let strict = "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter";
        ip(&["netns", "exec", name, "sh", "-c", strict])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // With the namespace goes its end of the wire, and with that the other end. There may be none.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn host_of([a, b, c]: [u8; 3], host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, host))
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error| format!("no ip command: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("ip {}: {}", args.join(" "), said.trim()))
    }
}

const OUTSIDE: u8 = 1;
const INSIDE: u8 = 2;
const FIRST_HOST: u8 = 11;
