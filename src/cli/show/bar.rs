//! Progress bars. Pure.

/// Cells of a bar.
const CELLS: usize = 20;

/// How much of all is done: `[##########----------]`. Full only when all is done, empty only when nothing is.
pub(crate) fn bar(done: u64, all: u64) -> String {
    let (done, all) = (done.min(all), all.max(1));
    let filled = (u128::from(done) * CELLS as u128 / u128::from(all)) as usize;
    let filled = if done > 0 { filled.max(1) } else { 0 };
    format!("[{}{}]", "#".repeat(filled), "-".repeat(CELLS - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_when_all_is_done_and_never_before() {
        assert_eq!(bar(0, 3), "[--------------------]");
        assert_eq!(bar(1, 3), "[######--------------]");
        assert_eq!(bar(3, 3), "[####################]");
        assert_eq!(bar(999_999, 1_000_000), "[###################-]");
        assert_eq!(bar(1, 1_000_000), "[#-------------------]");
        assert_eq!(bar(0, 0), "[--------------------]");
        assert_eq!(bar(7, 3), bar(3, 3));
        assert_eq!(bar(u64::MAX, u64::MAX), bar(3, 3));
    }
}
