//! Other programs as black boxes: run as child processes with a time limit, their output kept. Knows no program by name.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOK: Duration = Duration::from_millis(10);

/// A program to be run once.
pub struct Program {
    command: Command,
    text: String,
    input: Option<Vec<u8>>,
    limit: Duration,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The program and its arguments.
    pub command: String,
    /// It ended by itself, in time, and with success.
    pub success: bool,
    /// What it ended with; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error; at its end why it was killed, if it was.
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Program {
    /// A program that gets nothing to read and a minute to run.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(&program);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let text = program.as_ref().to_string_lossy().into_owned();
        Self { command, text, input: None, limit: Duration::from_secs(60) }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.text.push(' ');
            self.text.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self.command.stdin(Stdio::piped());
        self
    }

    /// How long it may run before it is killed.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let began = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.text));
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.input.take()) {
            // A program that ends before it has read everything is no error of ours.
            std::thread::spawn(move || drop(pipe.write_all(&input)));
        }
        let stdout = reader(child.stdout.take().expect("a pipe"));
        let stderr = reader(child.stderr.take().expect("a pipe"));
        Running { command: self.text, child, stdout, stderr, began, limit: self.limit }
    }

    /// Runs it to its end.
    pub fn run(self) -> Ended {
        self.start().wait()
    }
}

/// A program under way; killed at its end or its limit, whichever is first.
pub struct Running {
    command: String,
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    began: Instant,
    limit: Duration,
}

impl Running {
    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let status = loop {
            match self.child.try_wait().expect("wait for a child") {
                Some(status) => break Some(status),
                None if self.began.elapsed() >= self.limit => break None,
                None => std::thread::sleep(LOOK),
            }
        };
        if status.is_none() {
            // It may end by itself at this moment.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let took = self.began.elapsed();
        let mut stderr = self.stderr.join().expect("a reader");
        if status.is_none() {
            stderr.push_str(&format!("\nkilled: still running after {took:?}"));
        }
        Ended {
            command: self.command,
            success: status.is_some_and(|status| status.success()),
            code: status.and_then(|status| status.code()),
            stdout: self.stdout.join().expect("a reader"),
            stderr,
            took,
        }
    }
}

impl Ended {
    /// Its output, or everything about it as the error.
    pub fn ok(self) -> Result<String, String> {
        if self.success { Ok(self.stdout) } else { Err(self.to_string()) }
    }

    /// Its output; panics if it failed.
    pub fn expect(self, what: &str) -> String {
        self.ok().unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = if self.success { "succeeded" } else { "failed" };
        write!(f, "{} {outcome} after {:?}", self.command, self.took)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim())?;
            }
        }
        Ok(())
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
