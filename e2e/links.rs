//! Faults on the links between brokers: packets that iptables drops on loopback, for exactly their addresses and the peer
//! port, silently as a network does. Needs root. Knows addresses, no brokers.
//!
//! The rules lie in a chain named after this process. It goes with the value, also in a panic; what a killed run left
//! is removed by the next one. Chains of other runs that still live are let alone.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const PREFIX: &str = "chronik-e2e";
const NEEDS: &str = "this test cuts links with iptables and needs root on Debian with iptables installed \
                     (apt-get install iptables)";
static CHAINS: AtomicU32 = AtomicU32::new(0);

/// Packets on their way from one broker's address to another's that get lost.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The sender.
    pub from: Ipv4Addr,
    /// The receiver.
    pub to: Ipv4Addr,
    /// The share of packets that is lost: 1 is a cut.
    pub lost: f64,
}

/// The faults of one cluster's links.
pub struct Links {
    chain: String,
    port: u16,
}

impl Links {
    /// No faults yet, on connections to and from this port.
    pub fn new(port: u16) -> Self {
        assert!(rustix::process::geteuid().is_root(), "{NEEDS}");
        remove_leftovers();
        let chain = format!("{PREFIX}-{}-{}", std::process::id(), CHAINS.fetch_add(1, Ordering::Relaxed));
        let links = Self { chain, port };
        // At the receiver: a sender whose own packets are dropped would be told.
        restore(&format!("{}-I INPUT 1 -i lo -p tcp -j {}\n", links.empty(), links.chain));
        links
    }

    /// These faults from now on, and no others; all at once.
    pub fn set(&self, faults: &[Fault]) {
        let mut rules = self.empty();
        for Fault { from, to, lost } in faults {
            let chance = match *lost {
                1.0 => String::new(),
                lost => format!("-m statistic --mode random --probability {lost}"),
            };
            for side in ["--dport", "--sport"] {
                let rule = format!(
                    "-A {} -s {from} -d {to} -p tcp {side} {} {chance} -j DROP",
                    self.chain, self.port
                );
                rules.push_str(&rule);
                rules.push('\n');
            }
        }
        restore(&rules);
    }

    /// The chain's declaration, which also empties it.
    fn empty(&self) -> String {
        format!(":{} - [0:0]\n", self.chain)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        remove(&self.chain);
    }
}

/// Takes a chain out of use and away.
fn remove(chain: &str) {
    for args in [&["-D", "INPUT", "-i", "lo", "-p", "tcp", "-j", chain][..], &["-F", chain], &["-X", chain]] {
        // One that is not there is as good.
        let _ = Command::new("iptables").args(["-w", "10"]).args(args).stderr(Stdio::null()).status();
    }
}

fn remove_leftovers() {
    let listed = Command::new("iptables").args(["-w", "10", "-S"]).output().expect(NEEDS);
    assert!(listed.status.success(), "{NEEDS}: {}", String::from_utf8_lossy(&listed.stderr));
    let rules = String::from_utf8_lossy(&listed.stdout).into_owned();
    let chains = rules.lines().filter_map(|line| line.strip_prefix("-N "));
    chains.filter(|chain| crate::leftover::is_of_a_dead_run(chain, PREFIX)).for_each(remove);
}

fn restore(rules: &str) {
    let mut child = Command::new("iptables-restore")
        .args(["-w", "10", "--noflush"])
        .stdin(Stdio::piped())
        .spawn()
        .expect(NEEDS);
    let text = format!("*filter\n{rules}COMMIT\n");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("tell iptables-restore");
    assert!(child.wait().expect("iptables-restore").success(), "iptables-restore refused:\n{text}");
}
