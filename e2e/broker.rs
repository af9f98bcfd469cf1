//! One broker process: its folder, its addresses, its signals. Ends the process by its own pid when dropped.

use std::fs::{File, OpenOptions};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

const KAFKA: u16 = 9092;
const PEER: u16 = 9093;
const ADMIN: u16 = 9095;

/// A broker, running or not.
pub struct Broker {
    /// Its number, from 1.
    pub id: i32,
    /// Its data folder.
    pub data: PathBuf,
    /// Where all its lives write their log.
    pub log: PathBuf,
    ip: Ipv4Addr,
    voters: String,
    /// More of its settings, as arguments.
    pub(crate) settings: Vec<String>,
    child: Option<Child>,
}

/// The binary under test.
fn binary() -> PathBuf {
    let path = std::env::var_os("CHRONIK_BROKER_BIN")
        .expect("CHRONIK_BROKER_BIN names no chronik-broker built with --features faulty-disk");
    PathBuf::from(path)
}

impl Broker {
    pub(crate) fn new(id: i32, folder: PathBuf, ip: Ipv4Addr, voters: String) -> Self {
        let log = folder.join("log");
        Self { id, data: folder.join("data"), log, ip, voters, settings: Vec::new(), child: None }
    }

    /// Its own address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Where Kafka clients reach it.
    pub fn kafka(&self) -> SocketAddr {
        self.at(KAFKA)
    }

    /// Where brokers reach it.
    pub fn peer(&self) -> SocketAddr {
        self.at(PEER)
    }

    /// Where its admin API is.
    pub fn admin(&self) -> SocketAddr {
        self.at(ADMIN)
    }

    pub(crate) fn peer_of(ip: Ipv4Addr) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(ip), PEER)
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.ip), port)
    }

    /// Makes its data folder, as an initial voter.
    pub fn format(&self) {
        self.format_with(&[]);
    }

    /// Makes its data folder, for a broker that joins the initial voters.
    pub fn format_to_join(&self) {
        self.format_with(&["--join"]);
    }

    fn format_with(&self, more: &[&str]) {
        let done = Command::new(binary())
            .args(["format", "--cluster-id", "e2e", "--initial-voters", &self.voters])
            .args(["--broker-id", &self.id.to_string()])
            .args(more)
            .arg("--data-dir")
            .arg(&self.data)
            .output()
            .expect("start chronik-broker format");
        assert!(done.status.success(), "format: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Runs another command of the program, such as `check` or `recover`; gives its exit code, and what it said to both.
    pub fn command(&self, args: &[&str]) -> (i32, String) {
        let done = Command::new(binary()).args(args).output().expect("run chronik-broker");
        let said = [done.stdout, done.stderr].concat();
        (done.status.code().expect("an exit code"), String::from_utf8_lossy(&said).into_owned())
    }

    /// More of its settings, as arguments, from its next start on.
    pub fn set_settings(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
    }

    /// Starts its process.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "broker {} runs already", self.id);
        self.child = Some(self.spawn(self.ip, self.log_file()));
    }

    /// Starts another process on the same folder, at addresses of its own; the caller waits for its end.
    pub fn spawn_second(&self, ip: Ipv4Addr, log: File) -> Child {
        self.spawn(ip, log)
    }

    fn spawn(&self, ip: Ipv4Addr, log: File) -> Child {
        Command::new(binary())
            .arg("run")
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--listener", &format!("PLAINTEXT={ip}:{KAFKA}")])
            .args(["--peer-listener", &format!("{ip}:{PEER}")])
            .args(["--admin-listener", &format!("{ip}:{ADMIN}")])
            .args(&self.settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start chronik-broker run")
    }

    fn log_file(&self) -> File {
        OpenOptions::new().create(true).append(true).open(&self.log).expect("open the broker's log")
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_gone();
    }

    /// SIGSTOP.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM only.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// How the process ended, once it does so by itself.
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let id = self.id;
        let child = self.child.as_mut().expect("the broker runs");
        let (status, _) = wait::until(&format!("end of broker {id}"), limit, || {
            child.try_wait().expect("wait for a child").ok_or_else(|| "it still runs".to_owned())
        });
        self.child = None;
        status
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().expect("wait for a child").is_none())
    }

    /// All that it has logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log, for messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = self.log_text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// What its disk does wrong from now on; `{}` is nothing.
    pub fn set_faults(&self, json: &str) {
        let (new, file) = (self.data.join("faults.tmp"), self.data.join("faults.json"));
        std::fs::write(&new, json).and_then(|()| std::fs::rename(&new, &file)).expect("write faults.json");
    }

    /// The most memory that its process ever had resident, in MiB.
    pub fn peak_mib(&self) -> u64 {
        let id = self.child.as_ref().expect("the broker runs").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
        kib / 1024
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the broker runs");
        // Not waited for yet, so that the id is still this process's.
        kill_process(Pid::from_child(child), signal).expect("signal the broker");
    }

    fn wait_gone(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().expect("wait for a child");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
