//! What outsiders and disks may hand to a broker, one target for each decoder: bytes in, nothing out, and a panic where the
//! broker would not do what it must. A target panics also where more memory is taken than its bytes explain.
//!
//! `libfuzzer.rs` runs a target under libFuzzer (`make fuzz`), `cli.rs` runs all of them on stable over the corpus and
//! over mutations that follow from a seed (`make fuzz-short`). See docs/fuzzing.md.

pub mod cli;
pub mod corpus;
pub mod mutate;
mod panics;
pub mod targets;

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

pub use targets::{Target, find};

impl Target {
    /// Runs the target on one input; panics if the input breaks something or takes more memory than it may.
    pub fn run(&self, input: &[u8]) {
        panics::watch(|| {
            let before = MEMORY.current_usage();
            MEMORY.reset_peak_usage();
            (self.run)(input);
            let taken = MEMORY.peak_usage().saturating_sub(before);
            let bound = self.base + self.factor * input.len();
            assert!(
                taken <= bound,
                "{taken} bytes of memory for an input of {}: at most {bound}",
                input.len()
            );
        });
    }
}
