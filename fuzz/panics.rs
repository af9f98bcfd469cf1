//! Tells panics that matter from those that the broker contains: raft's own end a replica, not the broker.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::Once;

/// Where raft lies in the registry.
const RAFT: &str = "/raft-0.7";

thread_local! {
    /// What the last panic said, and the first one that came from the broker's own code.
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
    static OWN: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn note(info: &PanicHookInfo<'_>) {
    let what = info.to_string();
    let of_raft = info.location().is_some_and(|at| at.file().contains(RAFT));
    LAST.set(what.clone());
    if !of_raft {
        OWN.with_borrow_mut(|own| own.is_none().then(|| own.replace(what)));
    }
}

/// Runs `work`; a panic ends it, also one of the broker's own code that the broker itself caught.
pub(crate) fn watch(work: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| set_hook(Box::new(note)));
    OWN.set(None);
    let done = catch_unwind(AssertUnwindSafe(work));
    let own = OWN.take();
    if let Err(panic) = done {
        eprintln!("{}", LAST.take());
        std::panic::resume_unwind(panic);
    }
    if let Some(own) = own {
        eprintln!("contained, and still a fault of ours: {own}");
        std::panic::resume_unwind(Box::new(own));
    }
}
