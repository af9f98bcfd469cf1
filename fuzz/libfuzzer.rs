//! libFuzzer's door to the target that `CHRONIK_FUZZ_TARGET` names.
#![no_main]

use std::sync::LazyLock;

use chronik_fuzz::Target;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("CHRONIK_FUZZ_TARGET").expect("CHRONIK_FUZZ_TARGET names the target");
    chronik_fuzz::find(&name).expect("a target of chronik-fuzz --list")
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| TARGET.run(input));
