//! What happened, as a hash that two runs of a seed must share, and on request as lines for people.

use std::fmt::Write as _;

use crate::time::Micros;

/// The trace of one run.
#[derive(Default)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps lines if `readable`.
    pub fn new(readable: bool) -> Self {
        Self { hash: 0, events: 0, lines: readable.then(Vec::new) }
    }

    /// Notes an event: its numbers go into the hash, its words are only made when somebody reads them.
    pub fn note(&mut self, at: Micros, numbers: [u64; 3], words: impl FnOnce() -> String) {
        self.events += 1;
        for number in [at, numbers[0], numbers[1], numbers[2]] {
            self.hash = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        }
        if self.lines.is_some() {
            self.take_logs(at);
            let words = words();
            if !words.is_empty() {
                self.line(at, &words);
            }
        }
    }

    /// Adds what the brokers have logged since.
    fn take_logs(&mut self, at: Micros) {
        for words in logs::take() {
            self.line(at, &format!("    {words}"));
        }
    }

    fn line(&mut self, at: Micros, words: &str) {
        if let Some(lines) = &mut self.lines {
            let mut line = String::with_capacity(words.len() + 12);
            let _ = write!(line, "{:>10.3} {words}", at as f64 / 1_000.0);
            lines.push(line);
        }
    }

    /// The hash over all events so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines kept.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }
}

/// What the product's code logs, caught for readable traces.
pub mod logs {
    use std::cell::RefCell;
    use std::io::{self, Write};
    use std::sync::Once;

    use tracing_subscriber::fmt::MakeWriter;

    thread_local! {
        static CAUGHT: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
    }

    static SUBSCRIBE: Once = Once::new();

    /// Catches this thread's logs from now on, or none.
    pub fn begin(readable: bool) {
        if readable {
            SUBSCRIBE.call_once(|| {
                let subscriber = tracing_subscriber::fmt()
                    .with_max_level(tracing::Level::DEBUG)
                    .without_time()
                    .with_ansi(false)
                    .with_target(false)
                    .with_writer(Catch)
                    .finish();
                // Another subscriber in this process only means that traces lack these lines.
                let _ = tracing::subscriber::set_global_default(subscriber);
            });
        }
        CAUGHT.with_borrow_mut(|caught| *caught = readable.then(Vec::new));
    }

    /// The lines caught since the last call.
    pub fn take() -> Vec<String> {
        CAUGHT.with_borrow_mut(|caught| {
            let bytes = caught.as_mut().map(std::mem::take).unwrap_or_default();
            String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
        })
    }

    struct Catch;

    impl Write for Catch {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            CAUGHT.with_borrow_mut(|caught| {
                caught.iter_mut().for_each(|caught| caught.extend_from_slice(bytes))
            });
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Catch {
        type Writer = Catch;

        fn make_writer(&'a self) -> Catch {
            Catch
        }
    }
}
